"""Exact selection: the lowest-scored units go, exactly as many as asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Real
from typing import Literal

import torch
from torch import Tensor

from flowprune.core.errors import PruningError, invalid, unknown
from flowprune.core.groups import Groups, require_sparsity_of
from flowprune.masks.lowest import keep_highest
from flowprune.masks.masks import Masks

Scope = Literal["global", "local"]


def select(
    scores: Mapping[str, Tensor],
    sparsity: float | Mapping[str, float] | None = None,
    *,
    scope: str = "global",
    min_keep: int | Mapping[str, int] | None = None,
    protect: Sequence[str] = (),
    within: Mapping[str, Tensor] | None = None,
) -> Masks:
    """Keep the highest-scored units; exactly ``round(sparsity * n)`` are removed.

    Global: n counts all units of ``scores``, one ranking over all. Local: n counts a layer's units, one ranking
    each. Ties go to the lower position, except that a layer which would be emptied by a tie alone keeps its
    first tied unit. Protection is by boolean, never by a sentinel score.

    Scores of an N:M pattern (:class:`~flowprune.masks.n_m.NM`) have one sparsity, 1 - N/M: the best N of every M stay,
    whatever the scope.

    Shapes: ``result[name]`` is boolean with the shape of ``scores[name]``.

    Args:
        scores: Larger = keep.
        sparsity: Fraction removed of the units in ``scores``, in [0, 1); or one fraction for each layer by name,
            which implies the local scope. It may be left out for an N:M pattern alone.
        scope: ``"global"`` or ``"local"`` (per layer).
        min_keep: At least this many units of each layer stay: its top-scored ones. A number, or one by name. By default
            1 for channels, since a layer without any cuts the network in two, and 0 for weights and blocks.
        protect: Patterns (``fnmatch``) of layers of which nothing is cut; they count in n. With an N:M pattern, skip
            them in the granularity instead.
        within: Earlier masks. What they cut stays cut and counts as removed (nested rounds).

    Raises:
        ValueError: a sparsity outside [0, 1), or not that of the pattern; a score that is NaN or infinite; an unknown
            name.
        PruningError: a layer would be emptied (with min_keep 0), or protection leaves too little to cut.

    Example:
        >>> int(select({"w": torch.ones(8)}, 0.5)["w"].sum())
        4
        >>> select({"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([2.0, 4.0])}, 0.25)["a"]
        tensor([ True, False])
    """
    layout: Groups = getattr(scores, "layout", None) or {}
    if sparsity is None:
        sparsity = _fixed(scores, layout)
    _check(scores, sparsity, scope, within)
    for name in scores.keys() & layout.keys():
        asked = sparsity[name] if isinstance(sparsity, Mapping) else sparsity
        require_sparsity_of("select(sparsity=)", layout[name], asked)
        if protect and layout[name].sparsity is not None:
            todo = "Leave the layers out with skip= of the granularity."
            raise invalid("select(protect=)", f"empty for {layout[name].unit}", tuple(protect), todo)
    return select_round(scores, sparsity, scope=scope, min_keep=min_keep, protect=protect, within=within)


def select_round(
    scores: Mapping[str, Tensor],
    sparsity: float | Mapping[str, float],
    *,
    scope: str = "global",
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
    layout: Groups = getattr(scores, "layout", None) or {}
    if min_keep is None:
        min_keep = {name: 1 for name, group in layout.items() if group.channelwise}
    keep = {name: _floor(min_keep, name) for name in scores}
    safe = {name for name in scores if any(fnmatchcase(name, pattern) for pattern in protect)}
    _check_patterns(protect, scores)
    masks: dict[str, Tensor] = {}
    for names, remove in _pools(scores, sparsity, scope):
        alive = None if within is None else {n: within[n] for n in names}
        pool = {n: scores[n] for n in names}
        living = alive or {}
        held = {n: layout[n].required(scores[n], living.get(n)) for n in names if n in layout}
        required = {n: lock for n, lock in held.items() if lock is not None}
        masks |= remove_lowest(pool, remove, min_keep=keep, protected=safe, alive=alive, required=required)
    return Masks(masks, layout=layout, fingerprint=getattr(scores, "fingerprint", None))


def remove_lowest(
    scores: Mapping[str, Tensor],
    remove: int,
    *,
    min_keep: Mapping[str, int] | None = None,
    protected: Iterable[str] = (),
    alive: Mapping[str, Tensor] | None = None,
    required: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Masks with exactly ``remove`` units cut over all tensors together, those that are not alive included.

    ``required`` units stay, and count in ``min_keep``.

    Raises:
        PruningError: fewer than ``remove`` units may go, more are gone already, or a layer would be emptied.

    Example:
        >>> remove_lowest({"w": torch.tensor([2.0, 1.0, 3.0])}, 1)["w"]
        tensor([ True, False,  True])
    """
    held, floor, living = required or {}, min_keep or {}, alive or {}
    locked = {name: _best(name, s, floor.get(name, 0), held.get(name), living.get(name)) for name, s in scores.items()}
    locked |= {name: _whole(scores[name], living.get(name)) for name in scores.keys() & set(protected)}
    gone = 0 if alive is None else sum(s.numel() - int(torch.count_nonzero(alive[n])) for n, s in scores.items())
    total = sum(score.numel() for score in scores.values())
    safe = sum(0 if lock is None else int(torch.count_nonzero(lock)) for lock in locked.values())
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
    _refuse_empty(masks)
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


def _fixed(scores: Mapping[str, Tensor], layout: Groups) -> dict[str, float]:
    """The sparsity of each layer's pattern."""
    fixed = {name: layout[name].sparsity for name in scores if name in layout}
    found = {name: value for name, value in fixed.items() if value is not None}
    if len(found) < len(scores):
        todo = "Only scores of an N:M pattern have a sparsity of their own."
        raise invalid("select(sparsity=)", "in [0, 1)", None, todo)
    return found


def _pools(
    scores: Mapping[str, Tensor], sparsity: float | Mapping[str, float], scope: str
) -> list[tuple[list[str], int]]:
    """Lists of layers ranked together, and how many units go from each."""
    if isinstance(sparsity, Mapping):
        return [([name], round(sparsity[name] * scores[name].numel())) for name in scores]
    if scope == "local":
        return [([name], round(sparsity * score.numel())) for name, score in scores.items()]
    return [(list(scores), round(sparsity * sum(score.numel() for score in scores.values())))]


def _whole(score: Tensor, alive: Tensor | None) -> Tensor:
    """All units of a layer that are alive."""
    return torch.ones_like(score, dtype=torch.bool) if alive is None else alive.clone()


def _best(name: str, score: Tensor, keep: int, required: Tensor | None, alive: Tensor | None) -> Tensor | None:
    """The units of a layer that must stay, its ``keep`` top-scored among them; None where none must."""
    held = 0 if required is None else int(torch.count_nonzero(required))
    keep = min(keep, score.numel() if alive is None else int(torch.count_nonzero(alive)))
    if keep <= held:
        return required
    pool = None if alive is None else {name: alive}
    return keep_highest({name: score}, keep, first={name: required}, alive=pool)[name]


def _refuse_empty(masks: Mapping[str, Tensor]) -> None:
    empty = [name for name, mask in masks.items() if mask.numel() and not mask.numpy(force=True).any()]
    if empty:
        raise PruningError(
            f"select() must leave at least one unit in every layer; {', '.join(map(repr, empty))} would be emptied. "
            "Keep its top-scored unit (select(min_keep=1), or floor=0.0 of prune and Pruner), protect the layer, or "
            "lower the sparsity."
        )


def _floor(min_keep: int | Mapping[str, int], name: str) -> int:
    value = min_keep.get(name, 0) if isinstance(min_keep, Mapping) else min_keep
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise invalid("select(min_keep=)", "a whole number >= 0, or one by layer", value)
    return value


def _check_patterns(protect: Sequence[str], scores: Mapping[str, Tensor]) -> None:
    if isinstance(protect, str):
        raise invalid("select(protect=)", "a sequence of patterns", protect, f"Pass protect=({protect!r},).")
    for pattern in protect:
        if not any(fnmatchcase(name, pattern) for name in scores):
            raise unknown("select(protect=)", pattern, scores)


def _check(
    scores: Mapping[str, Tensor],
    sparsity: float | Mapping[str, float],
    scope: str,
    within: Mapping[str, Tensor] | None,
) -> None:
    for name, value in scores.items():
        if not isinstance(value, Tensor):
            raise invalid(f"select(scores=): scores of {name!r}", "a tensor", value)
    if not scores or not sum(score.numel() for score in scores.values()):
        raise invalid("select(scores=)", "at least one layer with units", dict(scores))
    if scope not in ("global", "local"):
        raise unknown("select(scope=)", scope, ("global", "local"))
    if isinstance(sparsity, Mapping) and sparsity.keys() != scores.keys():
        odd = sorted(sparsity.keys() ^ scores.keys())
        raise invalid("select(sparsity=)", "given for exactly the layers of the scores", odd)
    for value in sparsity.values() if isinstance(sparsity, Mapping) else (sparsity,):
        if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= value < 1.0:
            raise invalid("select(sparsity=)", "in [0, 1)", value, "To keep a fraction d, pass sparsity=1-d.")
    for name in scores:
        if within is not None and (name not in within or within[name].shape != scores[name].shape):
            raise invalid("select(within=)", f"masks of the same layers and shapes as the scores ({name!r})", within)
