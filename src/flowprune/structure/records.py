"""The result of a trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowprune.core.units import Layout
from flowprune.structure.ledger import Owned


@dataclass(frozen=True)
class Refusal:
    """An operation that could not be explained.

    Attributes:
        node: Its name in the exported graph.
        operation: The ATen operation.
        where: File, line and text of the model's code.
        reason: Why its channels were left whole.
        weights: The producing weights whose channels (some or all) stay for this reason.
    """

    node: str
    operation: str
    where: str
    reason: str
    weights: tuple[str, ...]

    def __str__(self) -> str:
        kept = ", ".join(self.weights)
        return f"{self.operation} ({self.node}) at {self.where}: {self.reason}. Left whole: {kept}."


@dataclass(frozen=True, eq=False)
class Trace:
    """The units of a model.

    Attributes:
        groups: Units by the name of the weight that makes them first. A weight that is in no group makes channels
            that the model's output fixes, or that a refusal explains.
        refusals: What could not be explained.
        producers: The axis along which each weight makes channels (first).
        owned: For each producing weight, the entries of biases and norms that belong to it alone.
        unused: Parameters that the forward pass does not read.
    """

    groups: Layout
    refusals: tuple[Refusal, ...] = ()
    producers: Mapping[str, int] = field(default_factory=dict[str, int])
    owned: Mapping[str, tuple[Owned, ...]] = field(default_factory=dict[str, tuple[Owned, ...]])
    unused: tuple[str, ...] = ()
