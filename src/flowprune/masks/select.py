"""Exact selection: the lowest-scored units go, exactly as many as asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Real
from typing import Literal

import torch
from torch import Tensor

from flowprune.core.errors import PruningError, invalid, unknown
from flowprune.core.units import Layout
from flowprune.masks.lowest import keep_highest
from flowprune.masks.masks import Masks

Scope = Literal["global", "local"]


def select(
    scores: Mapping[str, Tensor],
    sparsity: float | Mapping[str, float],
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

    Shapes: ``result[name]`` is boolean with the shape of ``scores[name]``.

    Args:
        scores: Larger = keep.
        sparsity: Fraction removed of the units in ``scores``, in [0, 1); or one fraction for each layer by name,
            which implies the local scope.
        scope: ``"global"`` or ``"local"`` (per layer).
        min_keep: At least this many units of each layer stay: its top-scored ones. A number, or one by name. By default
            1 for channels (scores with a layout), since a layer without any cuts the network in two, and 0 for single
            weights. Of a container that keeps other blocks than those offered, all may go.
        protect: Patterns (``fnmatch``) of layers of which nothing is cut; they count in n.
        within: Earlier masks. What they cut stays cut and counts as removed (nested rounds).

    Raises:
        ValueError: a sparsity outside [0, 1), a score that is NaN or infinite, an unknown name.
        PruningError: a layer would be emptied (with min_keep 0), or protection leaves too little to cut.

    Example:
        >>> int(select({"w": torch.ones(8)}, 0.5)["w"].sum())
        4
        >>> select({"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([2.0, 4.0])}, 0.25)["a"]
        tensor([ True, False])
    """
    _check(scores, sparsity, scope, within)
    layout: Layout = getattr(scores, "layout", None) or {}
    fingerprint = getattr(scores, "fingerprint", None)
    if min_keep is None:
        min_keep = {name: layout[name].least if name in layout else 1 for name in scores} if layout else 0
    keep = {name: _floor(min_keep, name) for name in scores}
    spare = {name for name, group in layout.items() if not group.least}
    safe = {name for name in scores if any(fnmatchcase(name, pattern) for pattern in protect)}
    _check_patterns(protect, scores)
    masks: dict[str, Tensor] = {}
    for names, remove in _pools(scores, sparsity, scope):
        alive = None if within is None else {n: within[n] for n in names}
        pool = {n: scores[n] for n in names}
        masks |= remove_lowest(pool, remove, min_keep=keep, protected=safe, alive=alive, spare=spare)
    return Masks(masks, layout=layout, fingerprint=fingerprint)


def remove_lowest(
    scores: Mapping[str, Tensor],
    remove: int,
    *,
    min_keep: Mapping[str, int] | None = None,
    protected: Iterable[str] = (),
    alive: Mapping[str, Tensor] | None = None,
    spare: Collection[str] = (),
) -> dict[str, Tensor]:
    """Masks with exactly ``remove`` units cut over all tensors together, those that are not alive included.

    ``spare`` names the layers that may lose all of their units.

    Raises:
        PruningError: fewer than ``remove`` units may go, more are gone already, or a layer would be emptied.

    Example:
        >>> remove_lowest({"w": torch.tensor([2.0, 1.0, 3.0])}, 1)["w"]
        tensor([ True, False,  True])
    """
    locked = {name: _locked(score, name, min_keep or {}, set(protected), alive) for name, score in scores.items()}
    gone = 0 if alive is None else sum(int((~alive[name]).sum()) for name in scores)
    total = sum(score.numel() for score in scores.values())
    safe = sum(0 if lock is None else int(lock.sum()) for lock in locked.values())
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
    _refuse_empty({name: mask for name, mask in masks.items() if name not in spare})
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


def _pools(
    scores: Mapping[str, Tensor], sparsity: float | Mapping[str, float], scope: str
) -> list[tuple[list[str], int]]:
    """Lists of layers ranked together, and how many units go from each."""
    if isinstance(sparsity, Mapping):
        return [([name], round(sparsity[name] * scores[name].numel())) for name in scores]
    if scope == "local":
        return [([name], round(sparsity * score.numel())) for name, score in scores.items()]
    return [(list(scores), round(sparsity * sum(score.numel() for score in scores.values())))]


def _locked(
    score: Tensor, name: str, min_keep: Mapping[str, int], protected: set[str], alive: Mapping[str, Tensor] | None
) -> Tensor | None:
    """Boolean tensor of the units of a layer that must stay, or None where none must."""
    if name in protected:
        return torch.ones_like(score, dtype=torch.bool) if alive is None else alive[name].clone()
    keep = min(min_keep.get(name, 0), score.numel())
    if keep <= 0:
        return None
    pool = None if alive is None else {name: alive[name]}
    available = score.numel() if pool is None else int(pool[name].sum())
    return keep_highest({name: score}, min(keep, available), alive=pool)[name]


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
