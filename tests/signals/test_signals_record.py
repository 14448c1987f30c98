"""The record: built by hand, validated, and clear about what it lacks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from flowprune.signals import NEEDS, Signals

W = {"w": torch.ones(2, 3)}


def test_it_can_be_built_by_hand_from_parameters_and_derivatives():
    signals = Signals(params={"w": nn.Parameter(W["w"])}, gradient=W, hessian_gradient=W, curvature=W)
    assert not signals.params["w"].requires_grad
    assert signals.require("curvature")["w"] is not None
    assert signals.prunable is None
    assert signals.fisher is None


@pytest.mark.parametrize("name", [*(n for n in NEEDS if n != "activations")])
def test_what_is_missing_says_how_to_get_it(name):
    with pytest.raises(ValueError, match=rf'Signals\.{name} must be gathered.*needs=\("{name}",\)'):
        Signals(params=W).require(name)


def test_what_cannot_be_gathered_is_to_be_passed():
    with pytest.raises(ValueError, match=r"needs=\(\"curvature\",\)\), or pass Signals\(curvature="):
        Signals(params=W).require("curvature")
    with pytest.raises(ValueError, match="one of gradient"):
        Signals(params=W).require("momentum")


@pytest.mark.parametrize("field", ["gradient", "hessian_gradient", "curvature", "fisher", "minibatch_fisher"])
def test_names_and_shapes_must_match(field):
    with pytest.raises(ValueError, match=rf"Signals\({field}=\) must be keyed by names of params"):
        Signals(params=W, **{field: {"v": torch.ones(2, 3)}})
    with pytest.raises(ValueError, match="of the shapes of params"):
        Signals(params=W, **{field: {"w": torch.ones(3, 2)}})


def test_mappings_of_tensors_are_asked_for():
    with pytest.raises(ValueError, match="a mapping of parameter names to tensors"):
        Signals(params=[torch.ones(1)])
    with pytest.raises(ValueError, match="a mapping of parameter names to tensors"):
        Signals(params={"w": 1.0})
    with pytest.raises(ValueError, match="'eval' or 'train'"):
        Signals(params=W, mode="test")


def test_frozen_parameters_need_no_derivative():
    signals = Signals(params={**W, "b": torch.ones(1)}, gradient=W)
    assert set(signals.require("gradient")) == {"w"}
    assert replace(signals, hessian_gradient=W).gradient is not None


def test_the_repr_counts_and_prints_no_tensor():
    text = repr(Signals(params=W, gradient=W, loss=0.5, samples=3))
    assert "6 parameters" in text
    assert "gradient" in text
    assert "loss 0.5 over 3 examples" in text
    assert "tensor(" not in text
