"""EarlyCroP: it is time once the weights move away from where they stood after the first epoch more slowly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from flowprune.core.errors import PruningError, invalid
from flowprune.schedules.events.event import Event
from flowprune.schedules.events.looks import Look, Reading
from flowprune.schedules.schedule import require_sparsity


def early_crop(sparsity: float | None = None, granularity: str | None = None) -> Event:
    """Fires once a look's step of the weights falls below a share of the first one, the smaller the more is to go.

    Formula: |r_t - r_(t-1)| < r_2 * share, with r_t = ||w_t - w_1|| / ||w_1|| and w_1 the weights at the first look
    (after the first epoch), so r_1 = 0; share = 1 - sparsity for single weights, and min(0.9 - sparsity, 0.99) for
    channels and other whole units. The earliest look at which it can fire is the third.

    It needs no scores and no batches. The norms run over all tensors with two or more axes: what a norm or a bias does
    is not counted.

    Args:
        sparsity: The final one; left out, that of the schedule it is used with.
        granularity: ``"weights"``, or the name of another one; left out, the one it is used with.

    Raises:
        ValueError: a sparsity outside [0, 1), or one of 0.9 or more for channels: the share would not be positive.

    Source: Rachwan et al. 2022, Winning the Lottery Ahead of Time, arXiv 2206.10451, the rule of their code.

    Example:
        >>> event = early_crop(0.75, "weights")
        >>> for count, movement in enumerate((0.0, 0.8, 1.2, 1.3), start=1):
        ...     event = event.see(Look(count, movement=movement))
        >>> [(r.threshold, r.fired) for r in event.readings]       # steps 0.8, 0.4, 0.1
        [(None, False), (0.2, False), (0.2, False), (0.2, True)]
    """
    crop = EarlyCrop()
    if sparsity is not None:
        crop = replace(crop, sparsity=require_sparsity("early_crop(sparsity=)", sparsity))
    if granularity is not None:
        crop = replace(crop, granularity=_require_word(granularity))
    if crop.sparsity is not None and crop.granularity is not None:
        crop_share(crop.sparsity, crop.granularity)
    return crop


def crop_share(sparsity: float, granularity: str) -> float:
    """The share of the first step below which a step must fall.

    Raises:
        ValueError: it would not be positive, so no step could.

    Example:
        >>> crop_share(0.75, "weights"), round(crop_share(0.75, "channels"), 12)
        (0.25, 0.15)
    """
    share = 1.0 - sparsity if granularity == "weights" else min(0.9 - sparsity, 0.99)
    if share <= 0:
        rule = f"below 0.9 for {granularity}, because the threshold is the first step times min(0.9 - sparsity, 0.99)"
        raise invalid("early_crop(sparsity=)", rule, sparsity, "Prune less, or take another event, such as early_bird.")
    return share


@dataclass(frozen=True)
class EarlyCrop(Event):
    """See :func:`early_crop`; it remembers the first and the last movement."""

    sparsity: float | None = None
    granularity: str | None = None
    first: float | None = None
    last: float | None = None

    @property
    def name(self) -> str:
        """Its name in ``EVENTS``."""
        return "early_crop"

    @property
    def needs(self) -> frozenset[str]:
        """The movement."""
        return frozenset({"movement"})

    def options(self) -> dict[str, Any]:
        """Sparsity and granularity."""
        return {"sparsity": self.sparsity, "granularity": self.granularity}

    def bound(self, *, sparsity: float, granularity: str) -> Self:
        """With the sparsity and the granularity it is used with.

        Raises:
            ValueError: it was made for others, or the share is not positive.
        """
        asked = {"sparsity": sparsity, "granularity": granularity}
        for key, value in asked.items():
            own = getattr(self, key)
            if own not in (None, value):
                raise invalid(f"early_crop({key}=)", f"that of the pruning, {value!r}", own, "Name it in one place.")
        crop_share(sparsity, granularity)
        return replace(self, sparsity=sparsity, granularity=granularity)

    def _seen(self, look: Look) -> tuple[Reading, Self]:
        share, moved = self._share(), look.movement or 0.0
        if self.last is None:
            if moved:
                raise invalid("early_crop.see(look=)", "without movement at the first look, where w_1 is", moved)
            return Reading(None, None, False), replace(self, last=moved)
        first = moved if self.first is None else self.first
        if first == 0.0:
            raise PruningError(
                "early_crop must see the weights move from the first look to the second; they stand still, and no step "
                "is below 0. Train between two looks."
            )
        value, threshold = abs(moved - self.last), first * share
        return Reading(value, threshold, value < threshold), replace(self, first=first, last=moved)

    def _share(self) -> float:
        if self.sparsity is None or self.granularity is None:
            todo = "fp.Pruner(when=) does it; else early_crop(sparsity, granularity)."
            raise invalid("early_crop(sparsity=, granularity=)", "known when it is used", self.options(), todo)
        return crop_share(self.sparsity, self.granularity)

    def _memory(self) -> object:
        return {"first": self.first, "last": self.last}

    def _remembering(self, memory: Any) -> Self:
        return replace(self, first=memory["first"], last=memory["last"])


def _require_word(granularity: object) -> str:
    if not isinstance(granularity, str):
        raise invalid("early_crop(granularity=)", "the name of a granularity: 'weights', 'channels', ...", granularity)
    return granularity
