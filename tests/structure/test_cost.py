"""Counts against formulas worked out by hand."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from safetensors.torch import save
from torch import nn

from flowprune.models import build
from flowprune.structure import latency, measure_cost, remove, trace
from tests.structure.comparing import drawn, images, randomised
from tests.structure.removable import Plain, Separable, Tied


@pytest.mark.parametrize(("name", "expected"), [("vgg13", 228_313_088), ("resnet56", 125_753_600)])
def test_multiply_adds_of_the_papers_networks(name, expected):
    assert measure_cost(build(name, num_classes=100), torch.zeros(2, 3, 32, 32)).multiply_adds == expected


def test_multiply_adds_by_hand():
    convolutions = 6 * 3 * 9 * 64 + 8 * 6 * 9 * 36
    for count in (1, 3):
        assert measure_cost(randomised(Plain), images(count=count)).multiply_adds == convolutions + 8 * 4
    depthwise = 6 * 3 * 9 * 64 + 6 * 9 * 64 + 5 * 6 * 64 + 5 * 4
    assert measure_cost(randomised(Separable), images()).multiply_adds == depthwise


def test_parameters_nonzeros_and_bytes():
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight[0] = 0
        model.bias.fill_(1)
    cost = measure_cost(model, torch.ones(1, 3))
    assert (cost.parameters, cost.nonzeros) == (8, 5)
    assert cost.bytes == len(save(dict(model.state_dict())))


def test_tied_parameters_count_once():
    model = randomised(Tied)
    cost = measure_cost(model, images())
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    data = {name: t for name, t in model.state_dict().items() if name != "b.weight"}
    assert cost.bytes == len(save(data))


def test_channels_last_is_counted_too():
    model = randomised(Plain)
    before = measure_cost(model, images())
    assert measure_cost(model.to(memory_format=torch.channels_last), images()) == before


def test_a_smaller_model_costs_less():
    model, x = randomised(Plain), images()
    small = remove(model, drawn(trace(model, x).groups), example_inputs=x)
    before, after = measure_cost(model, x), measure_cost(small, x)
    assert after.parameters < before.parameters
    assert after.multiply_adds < before.multiply_adds
    assert after.bytes < before.bytes
    assert after.activation_bytes < before.activation_bytes


def test_latency_reports_how_it_was_measured():
    found = latency(randomised(Plain), images(count=3), repeats=4, threads=1)
    assert (found.batch, found.threads, found.repeats) == (3, 1, 4)
    assert found.median_ms > 0
    assert found.iqr_ms >= 0
    with pytest.raises(ValueError, match=r"latency\(repeats=\)"):
        latency(randomised(Plain), images(), repeats=0)


def test_bytes_are_those_of_the_file_for_every_type_and_name():
    types = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16]
    types += [
        torch.int8,
        torch.uint8,
        torch.bool,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        torch.complex64,
        torch.uint16,
    ]
    for count in range(len(types) + 1):
        model = nn.Module()
        for index, dtype in enumerate(types[:count]):
            model.register_buffer(f'é"{9 * index}\\', torch.zeros(3 * index, 7, dtype=dtype))
            model.register_buffer(f"scalar{index}", torch.zeros((), dtype=dtype))
        assert measure_cost(model).bytes == len(save(dict(model.state_dict())))


def test_bytes_are_counted_without_writing_the_file():
    model = build("vgg13", num_classes=10)
    assert measure_cost(model).bytes == len(save({n: t.contiguous() for n, t in model.state_dict().items()}))
    with mock.patch("torch.empty", side_effect=AssertionError("a tensor was made")):
        measure_cost(model)


def test_multiply_adds_of_live_filters_leave_out_those_that_are_zero():
    model = randomised(Plain)
    with torch.no_grad():
        model[0].weight[[1, 4]] = 0  # two of six filters, at 64 positions of 3 x 9 multiply-adds
        model[0].bias.zero_()
    cost = measure_cost(model, images())
    assert cost.multiply_adds - cost.live_multiply_adds == 2 * 64 * 27
    assert measure_cost(randomised(Plain), images()).live_multiply_adds == cost.multiply_adds
