"""The factors of rescaling: closed forms, the depth at which a masked network is silent, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.masks.rescale import rescale

MAGNITUDE = {0.5: 1.0377, 0.2: 1.2405, 0.1: 1.5088, 0.05: 1.8929, 0.02: 2.6352, 0.01: 3.4403}
RANDOM = {0.5: 1.4142, 0.2: 2.2361, 0.1: 3.1623, 0.05: 4.4721, 0.02: 7.0711, 0.01: 10.0}


def gaussian(width=1000, seed=0):
    layer = nn.Linear(width, width, bias=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.normal_(0, math.sqrt(2 / width), generator=generator)
    return layer, generator


def kept(layer, density, how, generator):
    scores = layer.weight.detach().abs() if how == "magnitude" else torch.rand(layer.weight.shape, generator=generator)
    return {"weight": fp.select({"weight": scores}, 1 - density)["weight"]}


@pytest.mark.parametrize("density", MAGNITUDE)
@pytest.mark.parametrize(("how", "table"), [("magnitude", MAGNITUDE), ("random", RANDOM)])
def test_closed_forms_of_a_normal_layer(how, table, density):
    layer, generator = gaussian()
    rho = rescale(layer, kept(layer, density, how, generator))["weight"]
    assert float(rho) == pytest.approx(table[density], rel=0.015 if density < 0.05 else 0.005)


@pytest.mark.parametrize("per", ["layer", "unit"])
def test_the_variance_is_the_one_asked_for(per):
    layer, generator = gaussian(200)
    mask = kept(layer, 0.1, "magnitude", generator)
    rescale(layer, mask, sigma_w=1.5, per=per)
    left = (layer.weight.detach() * mask["weight"]).double().square()
    rows = left.mean(1) * 200 if per == "unit" else (left.mean() * 200)[None]
    torch.testing.assert_close(rows, torch.full_like(rows, 2.25), rtol=1e-5, atol=0)


def test_a_deep_network_is_heard_again():
    """RP-6: at depth 30 a masked relu network is silent, and one that was rescaled is not."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(20, 500, generator=generator, dtype=torch.float64)
    heard = {}
    for rescaled in (False, True):
        h = x
        for seed in range(30):
            layer, draw = gaussian(500, seed)
            layer = layer.double()
            mask = kept(layer, 0.1, "random", draw)
            if rescaled:
                rescale(layer, mask)
            fp.apply(layer, mask)
            h = torch.relu(layer(h)).detach()
        heard[rescaled] = float(h.square().mean())
    assert heard[False] < 1e-27
    assert 0.2 < heard[True] < 2


def test_dead_units_and_layers_keep_their_zeros():
    layer = nn.Linear(3, 2, bias=False)
    mask = {"weight": torch.tensor([[True, True, False], [False, False, False]])}
    rho = rescale(layer, mask, sigma_w=1.0, per="unit")["weight"]
    assert float(rho[1]) == 1
    assert bool(torch.isfinite(layer.weight).all())
    assert float(rescale(layer, {"weight": torch.zeros(2, 3, dtype=torch.bool)}, sigma_w=1.0)["weight"]) == 1


def test_what_is_refused():
    layer, norm = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    mask = {"weight": torch.rand(4, 4) > 0.5}
    before = layer.weight.detach().clone()
    for wrong, said in (
        ({"masks": {"weight": torch.ones(4, dtype=torch.bool)}}, "of single weights"),
        ({"masks": {"w": mask["weight"]}}, r"rescale\(masks=\): the model has no 'w'"),
        ({"masks": mask, "per": "row"}, r"rescale\(per=\) has no 'row'"),
        ({"masks": mask, "sigma_w": 0.0}, r"rescale\(sigma_w=\) must be a standard deviation above 0"),
    ):
        with pytest.raises(ValueError, match=said):
            rescale(layer, **wrong)
    assert torch.equal(layer.weight, before)
    fp.apply(layer, mask)
    with pytest.raises(ValueError, match="given where the masked weights of 'weight' are zero already"):
        rescale(layer, mask)
    with pytest.warns(UserWarning, match="rescaling is void"):
        rescale(norm, {"0.weight": mask["weight"]})
