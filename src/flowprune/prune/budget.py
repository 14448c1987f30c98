"""How much of a model is to be left, in the units that people mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Final

from flowprune.core.errors import invalid

UNITS: Final = {
    "parameters": "parameters",
    "flops": "multiply-adds",
    "bytes": "bytes",
    "latency_ms": "ms",
    "channels": "units",
}
"""The keywords of :class:`Budget`, and what each counts."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is to be left of a model: exactly one of these.

    A number in (0, 1] is the fraction of the dense model to be LEFT (0.5 of the parameters, not the parameters without
    half of the channels, which would be a quarter); a whole number above 1 is an amount. Milliseconds are always an
    amount.

    Attributes:
        parameters: Entries of all parameters, tied ones once.
        flops: Multiply-adds per example of convolutions, linear layers and matrix products, as
            :func:`flowprune.structure.measure_cost` counts them. One multiply-add is two FLOPs: an amount of FLOPs as
            other tools print it is halved first. A fraction is the same of either.
        bytes: Of the state dictionary as a safetensors file.
        latency_ms: Milliseconds of a forward pass, measured on this device, with as many threads as now.
        batch: Of that pass; by default that of the example inputs.
        channels: Units kept, of those that the granularity offers.

    Raises:
        ValueError: none or several of them, or a number that is neither a fraction nor an amount.

    Example:
        >>> Budget(parameters=0.5).words, Budget(latency_ms=4).words, Budget(bytes=1_000_000).words
        ('50 % of parameters', '4 ms', '1,000,000 bytes')
        >>> Budget(latency_ms=4, batch=8).words
        '4 ms at batch 8'
        >>> Budget(parameters=0)
        Traceback (most recent call last):
        ValueError: Budget(parameters=) must be a fraction in (0, 1] or a whole number above 1; got 0.
    """

    parameters: float | None = None
    flops: float | None = None
    bytes: float | None = None
    latency_ms: float | None = None
    channels: float | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name in UNITS if (value := getattr(self, name)) is not None}
        if len(given) != 1:
            raise invalid("Budget()", f"given exactly one of {', '.join(UNITS)}", list(given))
        ((name, value),) = given.items()
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
        positive = math.isfinite(number) and number > 0
        if name == "latency_ms":
            if not positive:
                raise invalid("Budget(latency_ms=)", "milliseconds above 0", value)
        elif not positive or (number > 1 and number != int(number)):
            rule = "a fraction in (0, 1] or a whole number above 1"
            raise invalid(f"Budget({name}=)", rule, value)
        if self.batch is not None and (name != "latency_ms" or isinstance(self.batch, bool) or self.batch < 1):
            raise invalid("Budget(batch=)", "a size >= 1 beside latency_ms=", self.batch, "Others count one example.")

    @property
    def unit(self) -> str:
        """Which of the keywords it is."""
        return next(name for name in UNITS if getattr(self, name) is not None)

    @property
    def value(self) -> float:
        """The number given."""
        return float(getattr(self, self.unit))

    @property
    def is_fraction(self) -> bool:
        """Whether the number is a fraction of the dense model."""
        return self.unit != "latency_ms" and self.value <= 1

    @property
    def words(self) -> str:
        """As one says it."""
        at = "" if self.batch is None else f" at batch {self.batch}"
        return told(self.value, self.unit, fraction=self.is_fraction) + at

    def amount(self, dense: float) -> float:
        """How much that is of a dense model.

        Example:
            >>> Budget(parameters=0.25).amount(1000), Budget(parameters=600).amount(1000)
            (250.0, 600.0)
        """
        return self.value * dense if self.is_fraction else self.value

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget as the command line writes it.

        Raises:
            ValueError: the text has another form.

        Example:
            >>> Budget.parse("parameters=0.5")
            Budget(parameters=0.5, flops=None, bytes=None, latency_ms=None, channels=None, batch=None)
        """
        name, sign, number = text.partition("=")
        try:
            value = float(number.replace("_", "").replace(",", ""))
        except ValueError:
            value = math.nan
        if not sign or name.strip() not in UNITS or math.isnan(value):
            rule = f"UNIT=NUMBER, UNIT one of {', '.join(UNITS)}"
            raise invalid("Budget.parse(text=)", rule, text, "For half of the parameters write parameters=0.5.")
        given: Any = {name.strip(): value}
        return cls(**given)


def told(value: float, unit: str, *, fraction: bool = False, sign: bool = False) -> str:
    """A number with its unit.

    Example:
        >>> told(0.503, "parameters", fraction=True), told(-0.0311, "latency_ms"), told(12000, "flops", sign=True)
        ('50.3 % of parameters', '-0.0311 ms', '+12,000 multiply-adds')
    """
    plus = "+" if sign else ""
    if fraction:
        return f"{round(100 * value, 2) + 0.0:{plus}.6g} % of {UNITS[unit]}"
    return f"{value:{plus}.4g} ms" if unit == "latency_ms" else f"{round(value):{plus},} {UNITS[unit]}"
