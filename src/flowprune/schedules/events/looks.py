"""What an event is shown, and what it reads from it: plain data, so that a run can write it down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from flowprune.core.errors import invalid


class Reading(NamedTuple):
    """What an event made of one look, for a plot of the value and its threshold by look.

    Attributes:
        value: The indicator; None where there is none yet.
        threshold: What it is compared with; None where that is not known yet.
        fired: Whether it is time to cut.
    """

    value: float | None
    threshold: float | None
    fired: bool


@dataclass(frozen=True)
class Look:
    """One look at a network that is not pruned yet; what nobody asked for is None or empty.

    Attributes:
        count: 1 for the first look.
        bits: The mask that pruning now would give, 1 = kept, over all layers in order: eight units a byte, the first
            one in the highest bit, zeros after the last. None where no mask was drawn.
        units: How many units the mask has.
        layers: Their layers, in order.
        kept: How many units of each layer the mask keeps.
        movement: ||w - w_1|| / ||w_1||, with w_1 the weights at the first look; None where it was not measured.

    Raises:
        ValueError: parts that do not fit together, or a movement that is no finite number >= 0.

    Example:
        >>> Look(1, bits=bytes([0b10110000]), units=4, layers=("a", "b"), kept=(1, 2)).kept
        (1, 2)
    """

    count: int
    bits: bytes | None = None
    units: int = 0
    layers: tuple[str, ...] = ()
    kept: tuple[int, ...] = ()
    movement: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise invalid("Look(count=)", "a whole number >= 1", self.count)
        if self.movement is not None and not 0.0 <= self.movement < math.inf:
            raise invalid("Look(movement=)", "a finite number >= 0", self.movement, "Look at the loss: did it diverge?")
        if self.bits is None and (self.units or self.layers or self.kept):
            raise invalid("Look(bits=)", "given with units, layers and kept", None)
        if self.bits is not None:
            self._check_mask(self.bits)

    def _check_mask(self, bits: bytes) -> None:
        if self.units < 1 or len(bits) != (self.units + 7) // 8 or bits[-1] & ((1 << -self.units % 8) - 1):
            got = f"{len(bits)} bytes for {self.units} units"
            raise invalid("Look(bits=)", "one bit a unit, eight to a byte, zeros after the last", got)
        if len(self.kept) != len(self.layers) or sum(self.kept) != int.from_bytes(bits).bit_count():
            rule = "one number a layer, together the bits that are set"
            raise invalid("Look(kept=)", rule, self.kept, f"The layers are {list(self.layers)}.")
