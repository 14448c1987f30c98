"""Networks of the loss-modelling paper, with the weights that it draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from flowprune.core.errors import UnknownNameError
from flowprune.models import build_for

NETWORKS = {
    "mlp": ((1, 28, 28), {"widths": [300, 100], "activation": "tanh"}),
    "vgg11_plain": ((3, 32, 32), {"width": 0.5}),
    "preact_resnet18": ((3, 32, 32), {"width": 0.25}),
}


def built(name: str, seed: int = 0, **options: object) -> nn.Module:
    shape, own = NETWORKS[name]
    return build_for(name, shape, num_classes=10, seed=seed, **own, **options)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_have_the_variance_for_relu_and_biases_are_zero(name):
    layers = [m for m in built(name, initial="kaiming").modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers:
        weight = layer.weight.detach().double()
        spread = weight.std() * math.sqrt(weight[0].numel())
        assert abs(float(spread) - math.sqrt(2)) < 4 / math.sqrt(weight.numel()) + 0.01
        assert abs(float(weight.mean() / weight.std())) < 4 / math.sqrt(weight.numel())
        assert layer.bias is None or not bool(layer.bias.any())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_draws_the_same_weights_and_another_others(name):
    first, again, other = (built(name, seed, initial="kaiming").state_dict() for seed in (0, 0, 1))
    weights = [key for key, value in first.items() if value.ndim > 1]
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in weights)


@pytest.mark.parametrize("name", NETWORKS)
def test_pytorchs_own_weights_are_what_they_were(name):
    plain, told = built(name).state_dict(), built(name, initial="pytorch").state_dict()
    assert all(torch.equal(plain[key], told[key]) for key in plain)


def test_batch_norms_start_at_one_and_zero():
    norms = [m for m in built("preact_resnet18", initial="kaiming").modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(bool((m.weight == 1).all()) and not bool(m.bias.any()) for m in norms)


@pytest.mark.parametrize("name", NETWORKS)
def test_another_way_is_refused(name):
    with pytest.raises(UnknownNameError, match="kaiming"):
        built(name, initial="xavier")


def test_biases_of_the_perceptron_are_not_drawn_beside():
    with pytest.raises(ValueError, match=r"mlp\(sigma_b=\) must be 0 with initial='kaiming'; got 0.1"):
        built("mlp", initial="kaiming", sigma_b=0.1)
