"""What a compensation changed, and how much closer the outputs of layers came to what they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


class OutputError(NamedTuple):
    """What a layer's outputs miss, as a fraction of what they were: E‖Wx − ŵx̂‖² / E‖Wx‖², bias included.

    Attributes:
        before: With masks alone, on the same inputs.
        after: With its weights compensated.
    """

    before: float
    after: float


@dataclass(frozen=True, eq=False)
class Compensation:
    """The record of :func:`flowprune.compensate`.

    Attributes:
        layers: The error of each layer that was solved, by the name of its weight.
        step: The whole change of the model, masks included: θ after minus θ before, by name, of what changed.
        left: Names of masked weights that were cut and not compensated, and why.
        sequential: Whether layers read what the compensated ones before them give.
        damping: That was used.

    Example:
        >>> print(Compensation({"0.weight": OutputError(0.5, 0.125)}, {}))
        output error of 1 layer: 50 % cut, 12.5 % compensated
    """

    layers: Mapping[str, OutputError]
    step: Mapping[str, Tensor]
    left: Mapping[str, str] = field(default_factory=dict[str, str])
    sequential: bool = True
    damping: float = 0.01

    def __str__(self) -> str:
        """The mean over layers."""
        count = len(self.layers)
        if not count:
            return "output error of 0 layers"
        cut, now = (sum(each[i] for each in self.layers.values()) / count for i in (0, 1))
        mean, layers = ("mean ", "layers") if count > 1 else ("", "layer")
        return f"{mean}output error of {count} {layers}: {100 * cut:.3g} % cut, {100 * now:.3g} % compensated"
