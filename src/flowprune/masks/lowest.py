"""Masks of the k highest of many scores, exactly.

Everything above the threshold stays, and the units that tie with it are filled in by position until the count
is exact. Scores on another device are read on the CPU, so the masks do not depend on the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.core.tensors import count_true, require_finite
from flowprune.masks.threshold import BLOCK, Array, Threshold, kth_largest, taken


def keep_highest(
    scores: Mapping[str, Tensor],
    kept: int,
    *,
    first: Mapping[str, Tensor | None] | None = None,
    alive: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Masks with exactly ``kept`` units True over all tensors together: the highest-scored ones.

    Args:
        scores: Finite scores by name.
        kept: How many units stay in all.
        first: Units that stay whatever their score; they count in ``kept``.
        alive: Units that may stay at all; the others are False whatever their score.

    Raises:
        ValueError: a score is NaN or infinite, or ``kept`` cannot be met.

    Example:
        >>> keep_highest({"a": torch.tensor([1.0, 1.0, 1.0])}, 2)["a"]
        tensor([ True,  True, False])
    """
    first = {name: lock for name, lock in (first or {}).items() if lock is not None}
    free: dict[str, Tensor | None] = {name: _free(name, first, alive) for name in scores}
    held = sum(count_true(lock) for lock in first.values())
    pool = sum(s.numel() if f is None else count_true(f) for s, f in zip(scores.values(), free.values(), strict=True))
    wanted = kept - held
    if not 0 <= wanted <= pool:
        raise invalid("keep_highest(kept=)", f"between {held} and {held + pool}", kept)
    if wanted in (0, pool):
        require_finite("select(scores=)", scores)
        return {name: _settled(score, free[name], first.get(name), wanted > 0) for name, score in scores.items()}
    among = [None if lock is None else _array(lock) for lock in free.values()]
    found = kth_largest([_array(score) for score in scores.values()], wanted, among)
    if not found.finite:
        require_finite("select(scores=)", scores)
    every = found.taken == found.ties
    masks = {name: _above(score, found.value, free[name], ties=every) for name, score in scores.items()}
    if not every:
        held_in = {name for name, lock in first.items() if bool(lock.any())}
        _fill_ties(masks, scores, free, threshold=found, settled=held_in)
    for name, lock in first.items():
        masks[name] |= lock
    return masks


def _free(name: str, first: Mapping[str, Tensor], alive: Mapping[str, Tensor] | None) -> Tensor | None:
    """Units in the race: alive and not held; None where all are."""
    lock = first.get(name)
    if alive is None:
        return None if lock is None else ~lock
    return alive[name] if lock is None else alive[name] & ~lock


def _settled(score: Tensor, free: Tensor | None, lock: Tensor | None, keep: bool) -> Tensor:
    mask = torch.full_like(score, keep, dtype=torch.bool) if free is None or not keep else free.clone()
    return mask if lock is None else mask | lock


def _array(tensor: Tensor) -> Array:
    """A tensor as a flat numpy array; numpy has no bfloat16, and float32 holds every value of it."""
    flat = tensor.detach().reshape(-1).cpu()
    return (flat.float() if flat.dtype in (torch.bfloat16, torch.float16) else flat).numpy()


def racing(score: Tensor, free: Tensor | None) -> Array:
    """The scores in the race, flat; all where ``free`` is None.

    Example:
        >>> racing(torch.tensor([3.0, 1.0]), torch.tensor([False, True])).tolist()
        [1.0]
    """
    return taken(_array(score), None if free is None else _array(free))


def _above(score: Tensor, threshold: Any, free: Tensor | None, *, ties: bool) -> Tensor:
    """Where a score is above the threshold, or also where it ties with it."""
    flat = _array(score)
    out = np.empty(flat.size, np.bool_)
    (np.greater_equal if ties else np.greater)(flat, threshold, out=out)
    mask = torch.from_numpy(out).view(score.shape).to(score.device)
    return mask if free is None else mask.logical_and_(free)


def _fill_ties(
    masks: Mapping[str, Tensor],
    scores: Mapping[str, Tensor],
    free: Mapping[str, Tensor | None],
    *,
    threshold: Threshold,
    settled: set[str],
) -> None:
    """Set as many of the units that tie with the threshold as are taken: by position, an empty layer first."""
    short = threshold.taken
    for name, score in scores.items():
        if short and name not in settled and not bool(masks[name].numpy(force=True).any()):
            short -= _first_ties(masks[name], score, free[name], threshold.value, 1)
    for name, score in scores.items():
        if short:
            short -= _first_ties(masks[name], score, free[name], threshold.value, short)


def _first_ties(mask: Tensor, score: Tensor, free: Tensor | None, value: Any, most: int) -> int:
    """Set the first ``most`` unset ties of a layer; how many were set."""
    flat, out, taken = _array(score), mask.view(-1), 0
    allowed = None if free is None else _array(free)
    for start in range(0, flat.size, BLOCK):
        stop = min(start + BLOCK, flat.size)
        tied = (flat[start:stop] == value) & ~_array(out[start:stop])
        if allowed is not None:
            tied &= allowed[start:stop]
        where = np.flatnonzero(tied)[: most - taken] + start
        out[torch.from_numpy(where).to(out.device)] = True
        taken += where.size
        if taken == most:
            break
    return taken
