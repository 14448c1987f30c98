"""The report on what a cut saved: counts, ideals, and verdicts that say no more than was measured."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.structure import CostReport, Speed, compare_speed, measure_cost, remove
from flowprune.structure.example import Example
from flowprune.structure.latency import Latency, in_turns
from flowprune.structure.savings import Ideal, Measured


def speed(factor, low, high, batch=1):
    return Speed(Latency(factor, 0.1, batch, 1, 20), Latency(1.0, 0.1, batch, 1, 20), factor, low, high)


def network():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


X = torch.ones(2, 6)


def smaller():
    return remove(network(), {"0.weight": torch.arange(8) < 4}, example_inputs=X)


def report(after, *speeds):
    before, after = measure_cost(network(), X), measure_cost(after, X)
    return CostReport(before, after, tuple(Measured(each, 10, 5) for each in speeds))


@pytest.mark.parametrize(
    ("speeds", "verdict"),
    [
        ([speed(2.13, 2.0, 2.2, 8), speed(1.02, 0.9, 1.1, 1)], "x2.13 faster at batch 8, not measurably at batch 1"),
        ([speed(1.01, 0.9, 1.1, 1), speed(2.13, 2.0, 2.2, 8)], "x2.13 faster at batch 8, not measurably at batch 1"),
        ([speed(1.5, 1.4, 1.6, 1), speed(3.0, 2.9, 3.1, 8)], "x3 faster at batch 8, x1.5 faster at batch 1"),
        ([speed(1.5, 0.9, 2.6, 1)], "smaller, not measurably faster at batch 1"),
        ([speed(1.04, 1.03, 1.05, 1)], "smaller, not measurably faster at batch 1"),
        ([speed(0.5, 0.4, 0.6, 1), speed(1.0, 0.9, 1.1, 8)], "x2 slower at batch 1, not measurably at batch 8"),
        ([speed(1.0, 0.9, 1.1, 1), speed(1.0, 0.9, 1.1, 8)], "smaller, not measurably faster at batch 1 and 8"),
        ([], "smaller; latency not measured: no example inputs"),
    ],
)
def test_the_verdict_on_a_smaller_model(speeds, verdict):
    assert report(smaller(), *speeds).verdict == verdict


def test_the_verdict_on_a_model_that_grew():
    grown = CostReport(measure_cost(smaller(), X), measure_cost(network(), X))
    assert grown.verdict == "larger; latency not measured: no example inputs"


def test_the_verdict_on_zeros():
    scattered, filters = network(), network()
    with torch.no_grad():
        scattered[0].weight[:, 0] = 0
        filters[0].weight[3] = 0
        filters[0].bias[3] = 0
    even, odd = speed(1.0, 0.9, 1.1), speed(2.0, 1.9, 2.1)
    assert report(scattered, even).verdict == "unstructured zeros: no speed-up here"
    assert report(filters, even).verdict == (
        "whole filters are zero, and still there: no speed-up here; fp.remove takes them out"
    )
    with torch.no_grad():
        scattered[0].weight[3] = 0  # a filter that is zero by accident among many other zeros
    assert report(scattered, even).verdict == "unstructured zeros: no speed-up here"
    assert replace(report(scattered, even), zeros="zeros of 2:4 weights").verdict.startswith("zeros of 2:4 weights: no")
    assert "measure again" in report(scattered, odd).verdict
    assert "no speed-up to expect, latency not measured" in report(scattered).verdict
    assert report(network(), odd).verdict == "nothing was cut"


def test_the_ideals_by_hand():
    """Multiply-adds 6 * 8 + 8 * 2 -> half of them; activations 8 + 8 + 2 -> 4 + 4 + 2."""
    found = report(smaller(), speed(1.2, 1.1, 1.3))
    assert found.ideal == Ideal(64 / 32, 18 / 10)
    assert found.ideal.smaller == ("activation bytes", 1.8)
    assert found.ideal.attained(0.9) == pytest.approx(0.5)
    assert "0.60 of the ideal by multiply-adds (x2), 0.67 of that by activation bytes (x1.8)" in str(found)
    assert "the smaller is activation bytes" in str(found)


def test_the_report_of_a_cut():
    dense, x = network(), torch.ones(2, 6)
    small = remove(dense, {"0.weight": torch.arange(8) < 4}, example_inputs=x)
    found = fp.cost_report(dense, small, x, batch_sizes=(3, 1), repeats=4)
    assert [each.speed.batch for each in found.measured] == [3, 1]
    assert [(each.peak_before, each.peak_after) for each in found.measured] == [(192, 96), (64, 32)]
    assert found.latency_before is found.measured[0].speed.before
    assert found.latency_after.repeats == 4
    table = str(found)
    for words in ("parameters", "1 = 2 FLOPs", "bytes on disk", "peak bytes of activations, batch 3", "median of 4"):
        assert words in table
    assert table.endswith(f"Verdict: {found.verdict}.")
    assert all(len(line) <= 200 for line in table.splitlines())


def test_models_are_left_as_found_in_both_layouts():
    dense = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    state = {name: value.clone() for name, value in dense.state_dict().items()}
    random = torch.get_rng_state()
    for layout in (False, True):
        found = fp.cost_report(dense, dense, torch.ones(2, 2, 5, 5), repeats=2, channels_last=layout)
        assert found.channels_last is layout
    assert dense.training
    assert torch.equal(random, torch.get_rng_state())
    assert dense[0].weight.is_contiguous()
    for name, value in dense.state_dict().items():
        assert torch.equal(value, state[name])


def test_channels_last_reaches_filters_and_images():
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.deep = nn.Conv2d(2, 4, 3), nn.Conv3d(1, 1, 1)

        def forward(self, x):
            seen.append([t.is_contiguous(memory_format=torch.channels_last) for t in (x, self.conv.weight)])
            return self.conv(x)

    compare_speed(Spy(), Spy(), torch.ones(2, 2, 5, 5), repeats=1, channels_last=True)
    assert all(all(each) for each in seen)


def test_models_take_turns_and_the_order_alternates():
    ran = []

    class Named(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, x):
            ran.append(self.name)
            return x

    times = in_turns([Named("a"), Named("b")], Example.of(torch.ones(1)), 2, 3, where="in_turns")
    assert "".join(ran) == "abba" + "abbaab"
    assert [len(each) for each in times] == [3, 3]


def test_a_machine_that_slows_down_does_not_move_the_factor(monkeypatch):
    """Times that grow tenfold during the measurement: the factor stays 2."""
    clock = iter(cost * (1 + turn) for turn in range(-3, 20) for cost in ((2, 1) if turn % 2 == 0 else (1, 2)))
    module = sys.modules["flowprune.structure.latency"]  # the package's attribute of that name is the function
    monkeypatch.setattr(module, "_pass", lambda model, example, where: next(clock))
    found = compare_speed(network(), network(), X)
    assert (found.factor, found.low, found.high) == (2.0, 2.0, 2.0)
    assert found.before.median_ms / found.after.median_ms == pytest.approx(2.0)
    assert found.faster


def test_a_model_that_computes_more_is_found_slower():
    assert compare_speed(nn.Linear(512, 1024), nn.Linear(512, 8), torch.ones(64, 512)).faster
    assert compare_speed(nn.Linear(512, 8), nn.Linear(512, 1024), torch.ones(64, 512)).slower


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_sizes": (0,)}, r"cost_report\(batch_sizes=\)"),
        ({"batch_sizes": (1.5,)}, r"cost_report\(batch_sizes=\)"),
        ({"batch_sizes": 4}, r"cost_report\(batch_sizes=\)"),
        ({"repeats": 0}, r"cost_report\(repeats=\)"),
    ],
)
def test_a_wrong_option_is_named(options, said):
    with pytest.raises(ValueError, match=said):
        fp.cost_report(network(), network(), X, **options)


def test_no_module_is_named():
    with pytest.raises(ValueError, match=r"cost_report\(model=\) must be an nn.Module"):
        fp.cost_report(network(), [1], X)


def test_prune_gives_the_report():
    result = fp.prune(network(), measure="magnitude", sparsity=0.5, granularity=fp.Channels(example_inputs=X))
    assert isinstance(result.cost, CostReport)
    assert result.cost.latency_before.batch == len(X)
    bare = fp.prune(network(), measure="magnitude", sparsity=0.5)
    assert bare.cost.measured == ()
    assert bare.cost.latency_before is None


def test_examples_are_repeated_to_a_size():
    """Tensors of another length, such as a shared table, are not."""
    example = Example.of({"x": torch.tensor([5, 6]), "table": torch.arange(3)}).of_size(5)
    assert example.kwargs["x"].tolist() == [5, 6, 5, 6, 5]
    assert example.kwargs["table"].tolist() == [0, 1, 2]
    assert Example.of(torch.arange(4)).of_size(2).args[0].tolist() == [0, 1]
