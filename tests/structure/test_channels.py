"""The granularity that users pass."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import nn

from flowprune.signals import Signals
from flowprune.structure import Channels, trace
from tests.structure.comparing import images, randomised
from tests.structure.removable import Plain, Residual


def signals_of(model, inputs=None):
    params = {name: p.detach() for name, p in model.named_parameters()}
    return Signals(params=params, model=model, example_inputs=inputs)


def test_the_layout_is_the_trace_of_the_signals_model():
    model = randomised(Residual)
    own = Channels(example_inputs=images()).layout(signals_of(model))
    gathered = Channels().layout(signals_of(model, images()))
    assert list(own) == list(gathered) == list(trace(model, images()).groups)


def test_it_is_traced_once():
    model = randomised(Plain)
    first = Channels(example_inputs=images()).layout(signals_of(model))
    with mock.patch("torch.export.export", side_effect=AssertionError("traced again")):
        second = Channels(example_inputs=images()).layout(signals_of(model))
    assert {n: g.size for n, g in first.items()} == {n: g.size for n, g in second.items()}


def test_it_is_traced_again_when_the_model_changed():
    model = randomised(Plain)
    assert Channels(example_inputs=images()).layout(signals_of(model))["0.weight"].size == 6
    model[2] = nn.Sigmoid()
    assert "0.weight" not in Channels(example_inputs=images()).layout(signals_of(model))


def test_it_is_traced_again_when_a_setting_changed():
    class Switched(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.gated = nn.Linear(192, 6), nn.Linear(6, 2), False

        def forward(self, x):
            x = self.a(x.flatten(1))
            return self.b(x.sigmoid() if self.gated else x.relu())

    model = Switched().double()
    assert list(Channels(images()).layout(signals_of(model))) == ["a.weight"]
    model.gated = True
    assert list(Channels(images()).layout(signals_of(model))) == []


def test_skip():
    model = randomised(Residual)
    layout = Channels(images(), skip=("layers.*", "head.weight")).layout(signals_of(model))
    assert list(layout) == ["stem.weight"]
    with pytest.raises(ValueError, match=r"Channels\(skip=\).*'layer.0'"):
        Channels(images(), skip=("layer.0",)).layout(signals_of(model))
    with pytest.raises(ValueError, match="tuple of patterns"):
        Channels(images(), skip="layers.*")


def test_without_a_model_rows_are_units():
    layout = Channels().layout(Signals(params={"a": torch.ones(3, 2), "b": torch.ones(3)}))
    assert {name: group.size for name, group in layout.items()} == {"a": 3}


def test_without_inputs():
    with pytest.raises(ValueError, match=r"Channels\(example_inputs=\)"):
        Channels().layout(signals_of(randomised(Plain)))


def test_it_names_itself_and_prints_no_tensors():
    assert Channels(images()).name == "channels"
    assert repr(Channels(images(), skip=("a",))) == "Channels(skip=('a',), residual='coupled')"
