"""Measured latencies by width: no width is measured twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowprune.core.units import Layout
from flowprune.structure.forecast import Forecast, Shape
from flowprune.structure.latency import Latency, latency


class Widths(NamedTuple):
    """A row of the table.

    Attributes:
        kept: Units of each layer.
        latency: Of the model cut to them.
    """

    kept: Mapping[str, int]
    latency: Latency


class LatencyTable:
    """What a model takes when it is cut to given widths, on this device, at the batch of the example inputs.

    A copy is cut and timed; what was cut to the same shapes before is looked up.

    Args:
        model: Is not changed.
        layout: Of this model.
        example_inputs: What it is called with.
        repeats: Passes measured for each width.

    Example:
        >>> from flowprune.structure.trace import trace
        >>> model, x = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.ones(5, 3)
        >>> table = LatencyTable(model, trace(model, x).groups, x, repeats=3)
        >>> one = table.of({"0.weight": torch.tensor([True, False, True, True])})
        >>> other = table.of({"0.weight": torch.tensor([True, True, True, False])})
        >>> one is other, [dict(row.kept) for row in table.rows], one.batch
        (True, [{'0.weight': 3}], 5)
    """

    def __init__(self, model: nn.Module, layout: Layout, example_inputs: object, *, repeats: int = 20) -> None:
        self._forecast = Forecast(model, layout)
        self._inputs, self._repeats = example_inputs, repeats
        self._rows: dict[tuple[tuple[str, Shape], ...], Widths] = {}

    @property
    def rows(self) -> tuple[Widths, ...]:
        """Everything that was measured, in order."""
        return tuple(self._rows.values())

    def of(self, masks: Mapping[str, Tensor]) -> Latency:
        """The latency after a cut.

        Args:
            masks: Boolean ``(group.size,)`` by group name, True = kept.

        Raises:
            ValueError: masks that do not fit the layout.
            PruningError: a mask empties its group.
        """
        key = tuple(sorted(self._forecast.shapes(masks).items()))
        if key not in self._rows:
            kept = {name: int(torch.count_nonzero(mask)) for name, mask in masks.items()}
            found = latency(self._forecast.cut(masks), self._inputs, repeats=self._repeats)
            self._rows[key] = Widths(kept, found)
        return self._rows[key].latency
