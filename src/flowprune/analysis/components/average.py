"""What has been accumulated so far: a frozen record, and the pure steps from one to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor

from flowprune.core.errors import PruningError, invalid
from flowprune.core.tensors import require_finite, wide

SUM, AVERAGE = "sum/", "average/"


class ComponentValue(NamedTuple):
    """A metric over the parameters of a component.

    Attributes:
        sum: Over all its weights: grows with the component.
        mean: Per parameter.
        parameters: How many there are.
    """

    sum: float
    mean: float
    parameters: int


@dataclass(frozen=True)
class ImportanceRecord:
    """The importance of each component at one moment.

    Attributes:
        moment: 1 for the first.
        updates: How many updates came in since the moment before.
        values: The smoothed metric by component, with what none covers as ``"(uncovered)"``.
    """

    moment: int
    updates: int
    values: Mapping[str, ComponentValue]


@dataclass(frozen=True, eq=False)
class Accumulated:
    """All that is remembered.

    Attributes:
        sums: Per weight, over the updates since the last moment.
        updates: How many those are.
        average: Per weight, smoothed over the moments; empty before the first.
        records: Of the moments so far.
    """

    sums: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    updates: int = 0
    average: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    records: tuple[ImportanceRecord, ...] = ()

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, for safetensors."""
        sums = {f"{SUM}{name}": value for name, value in self.sums.items()}
        return {**sums, **{f"{AVERAGE}{name}": value for name, value in self.average.items()}}

    def numbers(self) -> dict[str, Any]:
        """The rest, as JSON has it."""
        return {"updates": self.updates, "records": [asdict(record) for record in self.records]}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> Accumulated:
        """What :meth:`tensors` and :meth:`numbers` gave.

        Example:
            >>> import torch
            >>> one = added(Accumulated(), {"w": torch.tensor([2.0])})
            >>> Accumulated.of(one.tensors(), one.numbers()).sums["w"]
            tensor([2.])
        """
        records = tuple(
            ImportanceRecord(r["moment"], r["updates"], {n: ComponentValue(*v) for n, v in r["values"].items()})
            for r in numbers["records"]
        )
        return cls(_under(SUM, tensors), int(numbers["updates"]), _under(AVERAGE, tensors), records)


def added(state: Accumulated, contributions: Mapping[str, Tensor]) -> Accumulated:
    """With one more update in it; ``state`` is unchanged.

    Example:
        >>> import torch
        >>> one = {"w": torch.tensor([1.0])}
        >>> twice = added(added(Accumulated(), one), one)
        >>> twice.sums["w"], twice.updates
        (tensor([2.]), 2)
    """
    sums = {n: state.sums[n] + c for n, c in contributions.items()} if state.sums else dict(contributions)
    return replace(state, sums=sums, updates=state.updates + 1)


def closed(state: Accumulated, alpha: float) -> Accumulated:
    """With the mean over the updates since the last moment mixed into the average, and none left open.

    Formula: A <- alpha * (sum / updates) + (1 - alpha) * A; the first moment's mean is taken whole.

    Raises:
        PruningError: there were no updates.
        ValueError: the sums are not finite.

    Example:
        >>> import torch
        >>> first = closed(added(Accumulated(), {"w": torch.tensor([4.0])}), 0.25)
        >>> closed(added(first, {"w": torch.tensor([8.0])}), 0.25).average["w"]
        tensor([5.])
    """
    if not state.updates:
        raise PruningError(
            "ComponentImportance.record() must follow an update; there was none since the last record. Call update() "
            "after each backward(), or train inside watch(optimizer)."
        )
    require_finite("ComponentImportance.record(): accumulated values", state.sums)
    means = {name: value / state.updates for name, value in state.sums.items()}
    mixed = {n: alpha * m + (1.0 - alpha) * state.average[n] for n, m in means.items()} if state.average else means
    return replace(state, sums={}, updates=0, average=mixed)


def by_component(values: Mapping[str, Tensor], components: Mapping[str, Sequence[str]]) -> dict[str, ComponentValue]:
    """Sum, mean and number of the parameters of each component, of those that have values; sums are of float64.

    Example:
        >>> import torch
        >>> by_component({"a": torch.tensor([1.0, 3.0])}, {"first": ["a"]})
        {'first': ComponentValue(sum=4.0, mean=2.0, parameters=2)}
    """
    result: dict[str, ComponentValue] = {}
    for component, names in components.items():
        held = [values[name] for name in names if name in values]
        count = sum(value.numel() for value in held)
        total = sum(float(wide(value).sum()) for value in held)
        if count:
            result[component] = ComponentValue(total, total / count, count)
    return result


def require_alpha(alpha: object) -> float:
    """The weight of the newest moment, in (0, 1], or an error.

    Example:
        >>> require_alpha(0.1)
        0.1
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha <= 1:
        todo = "It weighs the newest moment; for a decay d pass 1 - d."
        raise invalid("ComponentImportance(alpha=)", "in (0, 1]", alpha, todo)
    return float(alpha)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
