"""Exact selection: the lowest-scored units go, exactly as many as asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Real

import torch
from torch import Tensor

from flowprune.core.errors import PruningError, invalid, unknown
from flowprune.core.groups import Groups, fixed_sparsity_of, units_of
from flowprune.core.tensors import count_true
from flowprune.masks.critical import largest_safe_sparsity
from flowprune.masks.lowest import keep_highest
from flowprune.masks.masks import Masks
from flowprune.masks.pools import Pool, Scope, check_scope, pools, require_patterns, require_use
from flowprune.masks.reached import require_reached


def select(
    scores: Mapping[str, Tensor],
    sparsity: float | Mapping[str, float] | None = None,
    *,
    scope: Scope = "global",
    min_keep: int | Mapping[str, int] | None = None,
    protect: Sequence[str] = (),
    within: Mapping[str, Tensor] | None = None,
) -> Masks:
    """Keep the highest-scored units; exactly ``round(sparsity * n)`` are removed.

    Layers are ranked in pools, and n counts the units of a pool. Global: one pool of all layers. Local: one for each
    layer. Isomorphic: one for each structure (:func:`flowprune.masks.pools.structure_of`). Ties go to
    the lower position, except that a layer which would be emptied by a tie alone keeps its first tied unit. Protection
    is by boolean, never by a sentinel score.

    Scores of an N:M pattern (:class:`~flowprune.masks.n_m.NM`) have one sparsity, 1 - N/M: the best N of every M stay,
    whatever the scope.

    Shapes: ``result[name]`` is boolean with the shape of ``scores[name]``.

    Args:
        scores: Larger = keep.
        sparsity: Fraction removed of the units in ``scores``, in [0, 1); or one fraction for each layer by name,
            which implies the local scope. It may be left out for an N:M pattern alone, or where ``scope`` names the
            sparsity of every layer.
        scope: ``"global"``, ``"local"`` (per layer) or ``"isomorphic"``; pools of your own as lists of patterns
            (``fnmatch``), ``[["stem*", "layer1.*"], ["layer2.*"]]``; or patterns with a sparsity of their own,
            ``{"layer1.*": 0.3}``. Layers that fit no pattern form one more pool, at ``sparsity``.
        min_keep: At least this many units of each layer stay: its top-scored ones. A number, or one by name. By default
            1 for channels, since a layer without any cuts the network in two, and 0 for weights and blocks of weights.
            Of a container that keeps other modules than those offered, all may go.
        protect: Patterns (``fnmatch``) of layers of which nothing is cut; they count in n. With an N:M pattern, skip
            them in the granularity instead.
        within: Earlier masks. What they cut stays cut and counts as removed (nested rounds).

    Raises:
        ValueError: a sparsity outside [0, 1), or not that of the N:M pattern; a score that is NaN or infinite; an
            unknown name, a pattern that fits no layer, a layer that fits two.
        PruningError: a layer would be emptied (with min_keep 0), or protection leaves too little to cut.

    Example:
        >>> int(select({"w": torch.ones(8)}, 0.5)["w"].sum())
        4
        >>> select({"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([2.0, 4.0])}, 0.25)["a"]
        tensor([ True, False])
        >>> masks = select({"a": torch.arange(4.0), "b": torch.arange(4.0)}, 0.25, scope={"b": 0.75})
        >>> masks.per_layer()["a"].kept, masks.per_layer()["b"].kept
        (3, 1)
    """
    groups = _groups(scores)
    _check(scores, sparsity, scope, within)
    found = _pools(scores, sparsity, scope)
    require_patterns("select", found, groups)
    patterned = {name: group for name, group in groups.items() if group.sparsity is not None}
    if protect and patterned:
        todo = "Leave the layers out with skip= of the granularity."
        raise invalid("select(protect=)", f"empty for {units_of(patterned)}", tuple(protect), todo)
    return _selected(scores, found, min_keep, protect, within)


def select_round(
    scores: Mapping[str, Tensor],
    sparsity: float | Mapping[str, float],
    *,
    scope: Scope = "global",
    min_keep: int | Mapping[str, int] | None = None,
    protect: Sequence[str] = (),
    within: Mapping[str, Tensor] | None = None,
) -> Masks:
    """As :func:`select`, for one of several rounds: an N:M pattern need not be reached yet.

    The best N of every M stay; of the others exactly ``round(sparsity * n)`` go, the lowest-scored first.

    Raises:
        ValueError: as :func:`select`.
        PruningError: as :func:`select`, or the sparsity is above that of the pattern.

    Example:
        >>> from flowprune.masks import NM
        >>> from flowprune.measures import score
        >>> from flowprune.signals import Signals
        >>> signals = Signals(params={"w": torch.tensor([[3.0, 2.0, 1.0, 0.0]])})
        >>> select_round(score("magnitude", signals, NM(1, 2)), 0.25)["w"]
        tensor([[ True,  True,  True, False]])
    """
    _check(scores, sparsity, scope, within)
    return _selected(scores, _pools(scores, sparsity, scope), min_keep, protect, within)


def remove_from(
    scores: Mapping[str, Tensor],
    found: Iterable[Pool],
    *,
    min_keep: Mapping[str, int] | None = None,
    protected: Iterable[str] = (),
    alive: Mapping[str, Tensor] | None = None,
) -> Masks:
    """Masks with exactly as many units cut as the pools say, each pool ranked by itself; patterns keep what they must.

    Args:
        scores: Larger = keep; with the layout of their units, if they have one.
        found: Every layer is in one of these.
        min_keep: At least this many units of a layer stay.
        protected: Layers of which nothing is cut.
        alive: Units that may stay at all; the others count as cut.

    Raises:
        PruningError: as :func:`remove_lowest`, fewer units of a pattern are alive than it keeps, or units would stay
            that the scores say nothing of (``Scores.reached``).

    Example:
        >>> remove_from({"w": torch.tensor([2.0, 1.0, 3.0])}, [Pool(("w",), 3, 1 / 3)])["w"]
        tensor([ True, False,  True])
    """
    groups, safe, masks = _groups(scores), tuple(protected), dict[str, Tensor]()
    for pool in found:
        ranked = {name: scores[name] for name in pool.names}
        living = None if alive is None else {name: alive[name] for name in pool.names}
        held = {n: groups[n].required(scores[n], None if living is None else living[n]) for n in ranked if n in groups}
        required = {name: lock for name, lock in held.items() if lock is not None}
        masks |= remove_lowest(
            ranked,
            pool.remove,
            min_keep=min_keep,
            protected=safe,
            alive=living,
            required=required,
            spare={name for name, group in groups.items() if not group.least},
        )
    ordered = {name: masks[name] for name in scores}
    require_reached("select", ordered, getattr(scores, "reached", None))
    known = {"fingerprint": getattr(scores, "fingerprint", None), "point": getattr(scores, "point", None)}
    return Masks(ordered, layout=groups, **known)


def remove_lowest(
    scores: Mapping[str, Tensor],
    remove: int,
    *,
    min_keep: Mapping[str, int] | None = None,
    protected: Iterable[str] = (),
    alive: Mapping[str, Tensor] | None = None,
    required: Mapping[str, Tensor] | None = None,
    spare: Collection[str] = (),
) -> dict[str, Tensor]:
    """Masks with exactly ``remove`` units cut over all tensors together, those that are not alive included.

    ``required`` units stay, and count in ``min_keep``; ``spare`` names the layers that may lose all of their units.

    Raises:
        PruningError: fewer than ``remove`` units may go, more are gone already, or a layer would be emptied.

    Example:
        >>> remove_lowest({"w": torch.tensor([2.0, 1.0, 3.0])}, 1)["w"]
        tensor([ True, False,  True])
    """
    held, floor, living = required or {}, min_keep or {}, alive or {}
    locked = {name: _best(name, s, floor.get(name, 0), held.get(name), living.get(name)) for name, s in scores.items()}
    locked |= {name: _whole(scores[name], living.get(name)) for name in scores.keys() & set(protected)}
    gone = 0 if alive is None else sum(s.numel() - count_true(alive[n]) for n, s in scores.items())
    total = sum(score.numel() for score in scores.values())
    safe = sum(0 if lock is None else count_true(lock) for lock in locked.values())
    if remove < gone:
        raise PruningError(
            f"select(sparsity=) must not fall from round to round; {remove} units asked to be cut, {gone} are already."
        )
    if remove > total - safe:
        raise PruningError(
            f"select() must be able to cut {remove} of {total} units; {safe} are protected. "
            "Lower the sparsity or the floor (min_keep), or protect less."
        )
    masks = keep_highest(scores, total - remove, first=locked, alive=alive)
    _refuse_empty({name: mask for name, mask in masks.items() if name not in spare}, scores, alive)
    return masks


def floors(sizes: Mapping[str, int], fraction: float = 0.05) -> dict[str, int]:
    """Units that stay in each layer: floor(fraction * size) + 1, the "at most 95 % per layer" of the paper's code.

    Args:
        sizes: Original number of units by layer; always the original one, also in later rounds.
        fraction: In [0, 1).

    Source: Lubana & Dick (2021), arXiv 2009.11839, reference code.

    Example:
        >>> floors({"conv": 64})
        {'conv': 4}
    """
    if not 0.0 <= fraction < 1.0:
        raise invalid("floors(fraction=)", "in [0, 1)", fraction)
    return {name: min(int(fraction * size) + 1, size) for name, size in sizes.items()}


def fitting(where: str, patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """The names that fit one of some patterns (``fnmatch``).

    Raises:
        ValueError: one string in place of a sequence.
        UnknownNameError: a pattern fits no name.

    Example:
        >>> fitting("select(protect=)", ("conv*",), ["conv1", "conv2", "fc"])
        ['conv1', 'conv2']
    """
    names = list(names)
    if isinstance(patterns, str):
        raise invalid(where, "a sequence of patterns", patterns, f"Pass ({patterns!r},).")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise unknown(where, pattern, names)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _groups(scores: Mapping[str, Tensor]) -> Groups:
    """The groups of those scores that have one."""
    layout: Groups = getattr(scores, "layout", None) or {}
    return layout


def _pools(
    scores: Mapping[str, Tensor], sparsity: float | Mapping[str, float] | None, scope: Scope
) -> tuple[Pool, ...]:
    """The pools of a scope, or one for each layer where each layer has its sparsity by name."""
    if isinstance(sparsity, Mapping):
        return tuple(Pool((name,), score.numel(), sparsity[name]) for name, score in scores.items())
    found = pools(scores, scope, _fixed(scores) if sparsity is None else sparsity)
    require_use("select", sparsity, found)
    return found


def _fixed(scores: Mapping[str, Tensor]) -> float | None:
    """The one sparsity of the pattern that all these scores are of."""
    groups = _groups(scores)
    return fixed_sparsity_of(groups) if scores.keys() <= groups.keys() else None


def _selected(
    scores: Mapping[str, Tensor],
    found: Iterable[Pool],
    min_keep: int | Mapping[str, int] | None,
    protect: Sequence[str],
    within: Mapping[str, Tensor] | None,
) -> Masks:
    if min_keep is None:
        min_keep = {name: group.least for name, group in _groups(scores).items() if group.channelwise}
    keep = {name: _floor(min_keep, name) for name in scores}
    safe = fitting("select(protect=)", protect, scores)
    return remove_from(scores, found, min_keep=keep, protected=safe, alive=within)


def _whole(score: Tensor, alive: Tensor | None) -> Tensor:
    """All units of a layer that are alive."""
    return torch.ones_like(score, dtype=torch.bool) if alive is None else alive.clone()


def _best(name: str, score: Tensor, keep: int, required: Tensor | None, alive: Tensor | None) -> Tensor | None:
    """The units of a layer that must stay, its ``keep`` top-scored among them; None where none must."""
    held = 0 if required is None else count_true(required)
    keep = min(keep, score.numel() if alive is None else count_true(alive))
    if keep <= held:
        return required
    pool = None if alive is None else {name: alive}
    return keep_highest({name: score}, keep, first={name: required}, alive=pool)[name]


def _refuse_empty(
    masks: Mapping[str, Tensor], scores: Mapping[str, Tensor], alive: Mapping[str, Tensor] | None
) -> None:
    empty = [name for name, mask in masks.items() if mask.numel() and not mask.numpy(force=True).any()]
    if empty:
        raise PruningError(
            f"select() must leave at least one unit in every layer; {', '.join(map(repr, empty))} would be emptied. "
            f"{_safe(scores, alive)}Keep its top-scored unit (select(min_keep=1), or floor=0.0 of prune and Pruner), "
            "protect the layer, or lower the sparsity."
        )


def _safe(scores: Mapping[str, Tensor], alive: Mapping[str, Tensor] | None) -> str:
    """What could be removed of these scores instead, in words."""
    living = scores if alive is None else {name: s for name, s in scores.items() if bool(alive[name].any())}
    if len(living) < 2:
        return ""
    found = largest_safe_sparsity(living, alive)
    return (
        f"The largest safe sparsity of these scores is {found.sparsity:.6g} ({found.removable:,} of {found.total:,} "
        f"units); then {found.layer!r} dies. "
    )


def _floor(min_keep: int | Mapping[str, int], name: str) -> int:
    value = min_keep.get(name, 0) if isinstance(min_keep, Mapping) else min_keep
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise invalid("select(min_keep=)", "a whole number >= 0, or one by layer", value)
    return value


def _check(
    scores: Mapping[str, Tensor],
    sparsity: float | Mapping[str, float] | None,
    scope: Scope,
    within: Mapping[str, Tensor] | None,
) -> None:
    for name, value in scores.items():
        if not isinstance(value, Tensor):
            raise invalid(f"select(scores=): scores of {name!r}", "a tensor", value)
    if not scores or not sum(score.numel() for score in scores.values()):
        raise invalid("select(scores=)", "at least one layer with units", dict(scores))
    check_scope("select", scope)
    if isinstance(sparsity, Mapping) and sparsity.keys() != scores.keys():
        odd = sorted(sparsity.keys() ^ scores.keys())
        raise invalid("select(sparsity=)", "given for exactly the layers of the scores", odd)
    given = tuple(sparsity.values()) if isinstance(sparsity, Mapping) else (sparsity,)
    for value in given if sparsity is not None else ():
        if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= value < 1.0:
            raise invalid("select(sparsity=)", "in [0, 1)", value, "To keep a fraction d, pass sparsity=1-d.")
    for name in scores:
        if within is not None and (name not in within or within[name].shape != scores[name].shape):
            raise invalid("select(within=)", f"masks of the same layers and shapes as the scores ({name!r})", within)
