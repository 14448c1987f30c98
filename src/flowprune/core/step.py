"""A moment of training, written the way people say it: ``160ep`` or ``500it``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flowprune.core.errors import invalid


@dataclass(frozen=True)
class Step:
    """A number of epochs or of iterations (optimizer steps).

    Example:
        >>> Step.parse("3ep").iterations(per_epoch=10)
        30
        >>> str(Step.parse("500it"))
        '500it'
        >>> Step.parse("2ep").epochs(per_epoch=10)
        2
    """

    count: int
    unit: str = "ep"

    def __post_init__(self) -> None:
        if self.unit not in ("ep", "it"):
            raise invalid("Step(unit=)", "'ep' or 'it'", self.unit)
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 0:
            raise invalid("Step(count=)", "a whole number >= 0", self.count)

    @classmethod
    def parse(cls, text: str | Step) -> Step:
        """Read ``"160ep"`` or ``"500it"``; a :class:`Step` is returned as it is."""
        if isinstance(text, Step):
            return text
        match = re.fullmatch(r"(\d+)(ep|it)", str(text).strip())
        if match is None:
            raise invalid("Step.parse()", "a number and a unit such as '160ep' or '500it'", text)
        return cls(int(match[1]), match[2])

    def iterations(self, per_epoch: int) -> int:
        """This step in iterations, where one epoch has ``per_epoch`` of them."""
        if per_epoch < 1:
            raise invalid("Step.iterations(per_epoch=)", ">= 1", per_epoch)
        return self.count * per_epoch if self.unit == "ep" else self.count

    def epochs(self, per_epoch: int) -> int:
        """This step in whole epochs; raises where it falls inside one."""
        iterations = self.iterations(per_epoch)
        if iterations % per_epoch:
            raise invalid("Step.epochs()", f"a whole number of epochs of {per_epoch} iterations", str(self))
        return iterations // per_epoch

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"
