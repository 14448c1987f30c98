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
        ({"masks": mask, "sigma_w": 0.0}, r"rescale\(sigma_w=\) must be a standard deviation above 0; got 0.0"),
        ({"masks": mask, "sigma_w": "x"}, r"rescale\(sigma_w=\) must be a standard deviation above 0; got 'x'"),
        ({"masks": {"bias": torch.ones(4).bool()}}, r"mask of 'bias' must be .* got 'a parameter of shape \(4,\)'"),
        ({"masks": {"weight": torch.ones(4, 3).bool()}}, r"of single weights, \(4, 4\); got \(4, 3\)\."),
    ):
        with pytest.raises(ValueError, match=said):
            rescale(layer, **wrong)
    assert torch.equal(layer.weight, before)
    fp.apply(layer, mask)
    with pytest.raises(ValueError, match="given where masks hold on 'weight' already"):
        rescale(layer, mask)
    assert torch.equal(layer.weight, before * mask["weight"])
    with pytest.warns(UserWarning, match="rescaling is void"):
        rescale(norm, {"0.weight": mask["weight"]})


def test_a_layer_that_was_cut_before_does_not_say_what_its_scale_was():
    """Of a nested mask rho is 2 with the first sigma_w; the variance that is left would give 1.43."""
    layer, _ = gaussian()
    half = torch.arange(1000) % 2 == 0
    fp.apply(layer, {"weight": half.expand(1000, 1000)})
    nested = {"weight": (torch.arange(1000) % 4 == 0).expand(1000, 1000)}
    before = layer.weight.detach().clone()
    with pytest.raises(
        ValueError, match=r"given where masks hold on 'weight' already; got 'None with a density of 0.5'"
    ):
        rescale(layer, nested)
    assert torch.equal(layer.weight, before)
    assert float(rescale(layer, nested, sigma_w=math.sqrt(2))["weight"]) == pytest.approx(2, rel=0.005)


def test_a_mask_that_holds_everything_cuts_nothing():
    layer, generator = gaussian(100)
    fp.apply(layer, {"weight": torch.ones(100, 100, dtype=torch.bool)})
    assert float(rescale(layer, kept(layer, 0.5, "random", generator))["weight"]) == pytest.approx(2**0.5, rel=0.05)


def test_zeros_in_part_are_refused_and_chance_ones_are_not():
    layer, mask = nn.Linear(100, 100, bias=False), (torch.arange(100) % 2 == 0).expand(100, 100)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.weight[0, 1] = 0.0  # one of 10000
    assert float(rescale(layer, {"weight": mask})["weight"]) == pytest.approx(2**0.5, rel=1e-4)
    with torch.no_grad():
        layer.weight[:50, 1:8] = 0.0
    with pytest.raises(ValueError, match=r"masked weights of 'weight' are zero already; got 'None with 200 of them"):
        rescale(layer, {"weight": mask})


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_has_its_inputs_first(groups):
    """By output, against the outputs themselves: each has the variance sigma_w² on inputs of variance one."""
    torch.manual_seed(0)
    layer = nn.ConvTranspose1d(8, 4, 3, groups=groups, bias=False).double()
    mask = torch.rand(layer.weight.shape) > 0.4
    rho = rescale(layer, {"weight": mask}, sigma_w=1.5, per="unit")["weight"]
    assert rho.shape == (4,)
    weight = (layer.weight.detach() * mask).view(groups, 8 // groups, 4 // groups, 3)
    sums = weight.square().sum((1, 3)).flatten()
    torch.testing.assert_close(sums, torch.full((4,), 2.25).double())


def test_strides_of_a_transposed_convolution_thin_its_fan_in():
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(16, 32, 4, stride=2, bias=False).double()
    mask = torch.rand(layer.weight.shape) > 0.4
    rescale(layer, {"weight": mask}, sigma_w=1.5)
    fp.apply(layer, {"weight": mask})
    given = torch.randn(4, 16, 20, 20).double()
    inner = layer(given).detach()[:, :, 4:-4, 4:-4]
    assert float(inner.square().mean()) == pytest.approx(2.25, rel=0.05)


def test_embeddings_have_a_scale_of_their_own_and_no_fan_in():
    layer = nn.Embedding(6, 3)
    mask = {"weight": torch.arange(18).view(6, 3) % 2 == 0}
    with pytest.raises(ValueError, match=r"rescale\(sigma_w=\) must be None for Embedding, which has no fan-in"):
        rescale(layer, mask, sigma_w=1.0)
    assert rescale(layer, mask, per="unit")["weight"].shape == (3,)


def test_the_linear_layer_of_gpt2_has_its_inputs_first():
    class Conv1D(nn.Module):
        def __init__(self):
            super().__init__()
            self.nf, self.weight = 2, nn.Parameter(torch.arange(1.0, 9.0).view(4, 2))

    layer, mask = Conv1D(), torch.tensor([[True, False]] * 2 + [[False, True]] * 2)
    rho = rescale(layer, {"weight": mask}, sigma_w=1.0, per="unit")["weight"]
    torch.testing.assert_close(rho, torch.tensor([10.0, 100.0]).rsqrt())  # 1² + 3² and 6² + 8²
