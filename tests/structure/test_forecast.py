"""What a cut will cost is what it costs."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import nn
from torch.nn import functional

import flowprune.structure.latency_table as tables
import flowprune.structure.layer_latency as layers
from flowprune.structure import Forecast, Latency, LatencyTable, LayerLatencies, measure_cost, remove, trace
from tests.structure.comparing import drawn, images, randomised
from tests.structure.removable import Plain, Residual, every


@every
@pytest.mark.parametrize("seed", range(3))
def test_a_forecast_is_what_the_cut_model_costs(kind, seed):
    model, x = randomised(kind), images(count=3)
    found = trace(model, x)
    masks = drawn(found.groups, seed=seed)
    real = measure_cost(remove(model, masks, example_inputs=x, verify=False), x)
    forecast = Forecast(model, found.groups, x)
    assert forecast.parameters(masks) == real.parameters
    assert forecast.bytes(masks) == real.bytes
    assert forecast.multiply_adds(masks) == real.multiply_adds
    assert forecast.counted(masks) == real.multiply_adds


class Attending(nn.Module):
    """Channels that are factors of products without a weight, and places that a weight is applied to."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 10)
        self.tokens = nn.Linear(24, 24)
        self.head = nn.Linear(10, 4)

    def forward(self, x):
        x = self.embed(x.flatten(2).mT.reshape(len(x), 24, 8))
        x = x + torch.softmax(x @ x.mT, -1) @ x
        return self.head(functional.relu(self.tokens(x.mT).mT).mean(1))


def channels_of(model, first, second):
    """A layout of the first axis of one weight and the second of another."""
    from flowprune.core.units import Member, UnitGroup

    size = model.get_parameter(f"{first}.weight").shape[0]
    at = torch.arange(size)
    parts = (("weight", first, 0, "weight"), ("bias", first, 0, "bias"), ("weight", second, 1, "input"))
    members = tuple(Member(f"{layer}.{kind}", axis, at, at, role) for kind, layer, axis, role in parts)
    return {f"{first}.weight": UnitGroup(f"{first}.weight", size, members)}


def test_where_the_formula_does_not_hold_counting_does():
    model, x = Attending().eval(), torch.randn(2, 3, 8, 8)
    layout = channels_of(model, "embed", "head")
    masks = {"embed.weight": torch.arange(10) < 3}
    forecast = Forecast(model, layout, x)
    real = measure_cost(forecast.cut(masks), x).multiply_adds
    assert forecast.counted(masks) == real
    assert forecast.multiply_adds(masks) > real  # it takes what has no weight for fixed
    assert forecast.multiply_adds({}) == measure_cost(model, x).multiply_adds


class Reading(Plain):
    """Reads a number of a tensor, so it cannot run without numbers."""

    def forward(self, x):
        return super().forward(x) * (1 if float(x.sum()) > -1e9 else 2)


def test_a_model_that_needs_its_numbers_is_counted_with_them():
    model, x = randomised(Plain), images()
    masks = drawn(trace(model, x).groups)
    reading = randomised(Reading)
    assert Forecast(reading, masks.layout, x).counted(masks) == Forecast(model, masks.layout, x).counted(masks)


def test_nothing_is_touched():
    model, x = randomised(Plain), images()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    state = torch.get_rng_state()
    found = trace(model, x)
    forecast, masks = Forecast(model, found.groups, x), drawn(found.groups)
    forecast.multiply_adds(masks), forecast.counted(masks), forecast.bytes(masks)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert torch.equal(state, torch.get_rng_state())


def test_multiply_adds_need_inputs():
    model = randomised(Plain)
    with pytest.raises(ValueError, match=r"Forecast\(example_inputs=\)"):
        Forecast(model, {}).multiply_adds({})


def test_no_width_is_measured_twice():
    model, x = randomised(Plain), images()
    table = LatencyTable(model, trace(model, x).groups, x)
    times = [Latency(float(t), 0.0, 2, 1, 1) for t in range(1, 10)]
    with mock.patch.object(tables, "latency", side_effect=times):
        for mask in ([1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1], [1] * 6, [0, 0, 1, 1, 1, 1], [1] * 6):
            table.of({"0.weight": torch.tensor(mask).bool()})
        assert [(row.kept["0.weight"], row.latency.median_ms) for row in table.rows] == [(5, 1.0), (6, 2.0), (4, 3.0)]


def test_a_layer_of_one_kind_and_width_is_timed_once():
    model, x = randomised(Residual), images()
    layout = trace(model, x).groups
    latencies = LayerLatencies(model, layout, x)
    masks = {name: torch.arange(group.size) < 4 for name, group in layout.items()}
    with mock.patch.object(layers, "call_ms", return_value=1.0) as timed:
        found = [latencies.of(masks, f"layers.{block}.conv1.weight") for block in (0, 1)]
        assert found == [3.0, 3.0]  # the filter, its norm and the filter that reads it
        assert timed.call_count == 2  # the two filters are alike
        latencies.of({**masks, "layers.0.conv1.weight": torch.arange(6) < 5}, "layers.0.conv1.weight")
        assert timed.call_count == 5
    assert len(latencies.table) == 5
    assert not any(module._forward_pre_hooks for module in model.modules())
