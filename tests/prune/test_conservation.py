"""Saliency is conserved by layer and by unit where the law says so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowprune import models
from flowprune.objectives import cross_entropy, synaptic_flow
from flowprune.prune.conservation import layer_residuals, unit_residuals
from flowprune.signals import gather


def contributions(model, objective, batch):
    signals = gather(model, objective, [batch])
    return {n: signals.params[n] * g for n, g in signals.gradient.items() if g.dim() > 1}


def chain(bias=False):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=bias), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3, bias=bias),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(20, 6, bias=bias), nn.ReLU(), nn.Linear(6, 3, bias=bias),
    ).double().eval()  # fmt: skip


def images(n=4):
    return torch.randn(n, 2, 6, 6, dtype=torch.float64), torch.arange(n) % 3


@pytest.mark.parametrize("objective", [synaptic_flow(), cross_entropy()])
def test_a_chain_without_biases_conserves_it(objective):
    found = contributions(chain(), objective, images())
    assert max(layer_residuals(found).values()) < 1e-12
    units = unit_residuals(found)
    assert list(units) == ["3.weight", "7.weight", "9.weight"]
    assert max(units.values()) < 1e-12


def test_biases_break_it():
    model = chain(bias=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(1.0)
    assert max(layer_residuals(contributions(model, cross_entropy(), images())).values()) > 0.01


def test_branches_beside_a_shortcut_hold_less():
    model = models.resnet([(4, 2)], num_classes=3).double().eval()
    batch = torch.ones(1, 3, 6, 6, dtype=torch.float64), torch.tensor([0])
    found = contributions(model, synaptic_flow(), batch)
    residuals = layer_residuals(found)
    sums = {name: float(value.sum()) for name, value in found.items()}
    assert sums["stages.0.0.conv1.weight"] < 0.999 * sums["stem.weight"]
    assert residuals["stages.0.0.conv1.weight"] == pytest.approx(residuals["stages.0.0.conv2.weight"], rel=1e-9)


def test_zeros_are_conserved_and_nothing_is_refused():
    assert layer_residuals({"a": torch.zeros(2, 2), "b": torch.zeros(1, 2)}) == {"a": 0.0, "b": 0.0}
    assert unit_residuals({"a": torch.zeros(2, 2), "b": torch.zeros(1, 2)}) == {"b": 0.0}
    assert unit_residuals({"a": torch.ones(4, 2), "b": torch.ones(4, 1, 3, 3)}) == {}
    with pytest.raises(ValueError, match=r"layer_residuals\(contributions=\) must be of one weight or more"):
        layer_residuals({"bias": torch.ones(3)})
