"""Where the layers of a given model stand, against closed forms, maps and measured signals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import flowprune as fp
from flowprune.analysis import mean_field
from flowprune.analysis.mean_field import layer_chi
from flowprune.core.errors import PruningError
from flowprune.models.initializers import edge_of_chaos_

RHO = {"magnitude": {0.2: 1.2405, 0.1: 1.5088}, "random": {0.2: 2.2361, 0.1: 3.1623}}


def network(depth=4, width=64, activation=nn.ReLU, bias=False):
    layers = [nn.Linear(width, width, bias=bias) for _ in range(depth)]
    return nn.Sequential(*(module for layer in layers for module in (layer, activation())))


def at_the_edge(name, sigma_b=0.0, seed=0, **changed):
    model = network(**changed)
    edge_of_chaos_(model, name, sigma_b, generator=torch.Generator().manual_seed(seed))
    return model


def normal(*shape, seed=5):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_is_chi_of_the_layer_and_the_variance_before():
    model = at_the_edge("tanh", 0.2, activation=nn.Tanh, bias=True)
    found = layer_chi(model, variance=0.7)
    assert [layer.name for layer in found.layers] == ["0", "2", "4", "6"]
    assert (found.layers[0].variance, found.layers[0].chi, found.layers[0].measured) == (0.7, None, None)
    for before, layer in zip(found.layers, found.layers[1:], strict=False):
        module = model.get_submodule(layer.name)
        assert layer.sigma_w == pytest.approx(math.sqrt(64 * float(module.weight.detach().double().square().mean())))
        assert layer.sigma_b == pytest.approx(math.sqrt(float(module.bias.detach().double().square().mean())))
        assert layer.chi == mean_field.chi("tanh", layer.sigma_w, before.variance)
        one = mean_field.variance_map("tanh", layer.sigma_w, layer.sigma_b, depth=1, start=before.variance)
        assert layer.variance == pytest.approx(float(one[1]))
    slopes = [layer.chi for layer in found.layers[1:]]
    assert found.product == pytest.approx(math.prod(slopes))
    assert found.mean_log == pytest.approx(math.log(found.product) / 3)
    assert found.reach == pytest.approx(1 / abs(found.mean_log))


@pytest.mark.parametrize(("scale", "phase"), [(0.8, "ordered"), (1.0, "edge of chaos"), (1.25, "chaotic")])
def test_phases(scale, phase):
    model = at_the_edge("relu", width=128)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    found = layer_chi(model, variance=1.0)
    assert found.phase == phase
    assert found.mean_log == pytest.approx(2 * math.log(scale), abs=0.03)


@pytest.mark.parametrize("how", RHO)
@pytest.mark.parametrize("density", [0.2, 0.1])
def test_a_mask_takes_a_network_off_the_edge_and_rescaling_puts_it_back(how, density):
    """RP-6: E h² at depth 30 falls by rho^-60, to 4e-6 or 6e-11 by magnitude and 3e-21 or 2e-30 at random."""
    generator = torch.Generator().manual_seed(1)
    model = at_the_edge("relu", depth=31, width=200)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    scores = {
        n: w.abs() if how == "magnitude" else torch.rand(w.shape, generator=generator) for n, w in weights.items()
    }
    masks = fp.select(scores, 1 - density)
    found = layer_chi(model, variance=2.0, masks=masks)
    assert found.phase == "ordered"
    assert found.mean_log * 30 == pytest.approx(-60 * math.log(RHO[how][density]), rel=0.02)
    assert found.layers[-1].variance == pytest.approx(2 * found.product, rel=1e-6)
    fp.rescale(model, masks)
    fp.apply(model, masks)
    assert layer_chi(model, variance=2.0).phase == "edge of chaos"


def test_masks_that_hold_count_by_themselves_and_given_ones_besides():
    model = at_the_edge("relu", width=32)
    masks = {name: normal(*p.shape) < 0 for name, p in model.named_parameters()}
    more = {"2.weight": torch.arange(32 * 32).view(32, 32) % 2 == 0}
    expected = layer_chi(model, variance=1.0, masks=masks)
    fp.apply(model, masks)
    assert layer_chi(model, variance=1.0) == expected
    both = layer_chi(model, variance=1.0, masks=more).layers[1].sigma_w
    left = model[2].weight.detach().double() * more["2.weight"]
    assert both == pytest.approx(math.sqrt(32 * float(left.square().mean())))


def test_measured_variances_are_near_the_predicted_ones():
    model = at_the_edge("tanh", 0.2, activation=nn.Tanh, bias=True, width=400, depth=6)
    found = layer_chi(model, example_inputs=normal(64, 400))
    assert found.layers[0].variance == found.layers[0].measured
    for layer in found.layers:
        assert layer.measured == pytest.approx(layer.variance, rel=0.1)
    assert layer_chi(model, example_inputs=normal(64, 400), variance=9.0).layers[0].variance == 9.0


def test_weights_that_sensitivities_keep_are_not_random():
    """Rescaled to the edge of chaos by its variance, a relu network cut by SNIP explodes, one by magnitude does not."""
    x, growth = normal(64, 100), {}
    for how in ("magnitude", "sensitivity"):
        model = at_the_edge("relu", depth=16, width=100)
        weights = dict(model.named_parameters())
        gradient = torch.autograd.grad(model(x).square().mean(), list(weights.values()))
        grads = dict(zip(weights, gradient, strict=True)) if how == "sensitivity" else dict.fromkeys(weights, 1.0)
        masks = fp.select({name: (w * grads[name]).detach().abs() for name, w in weights.items()}, 0.9)
        fp.rescale(model, masks)
        fp.apply(model, masks)
        found = layer_chi(model, example_inputs=x)
        assert found.phase == "edge of chaos"
        growth[how] = found.layers[-1].measured / found.layers[-1].variance
    assert growth["magnitude"] < 3
    assert growth["sensitivity"] > 1e3


def test_convolutions_count_their_kernel():
    model = nn.Sequential(
        nn.Conv2d(3, 40, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
        nn.Conv2d(40, 40, 3, padding=1, padding_mode="circular", groups=2, bias=False),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(40 * 64, 10, bias=False),
    )
    edge_of_chaos_(model, "relu", generator=torch.Generator().manual_seed(0))
    found = layer_chi(model, example_inputs=normal(8, 3, 8, 8))
    assert [layer.name for layer in found.layers] == ["0", "2", "5"]
    for layer in found.layers[1:]:
        assert layer.sigma_w == pytest.approx(math.sqrt(2), rel=0.05)
        assert layer.measured == pytest.approx(layer.variance, rel=0.35)
    assert found.phase == "edge of chaos"


class Backwards(nn.Module):
    """Layers are called in another order than they were made in, and one is not called."""

    def __init__(self):
        super().__init__()
        self.last, self.unused, self.first = nn.Linear(4, 2), nn.Linear(4, 4), nn.Linear(3, 4)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


def test_layers_are_in_the_order_of_the_forward():
    model = Backwards()
    found = layer_chi(model, "tanh", example_inputs=torch.ones(2, 3))
    assert [layer.name for layer in found.layers] == ["first", "last"]
    assert [layer.name for layer in layer_chi(model, "tanh", variance=1.0).layers] == ["last", "unused", "first"]
    named = layer_chi(model, torch.tanh, example_inputs={"x": torch.ones(2, 3)})
    assert named == found


@pytest.mark.parametrize(
    ("module", "activation"),
    [
        (nn.Tanh(), "tanh"),
        (nn.ReLU(inplace=True), "relu"),
        (nn.ELU(), "elu"),
        (nn.SELU(), "selu"),
        (nn.SiLU(), "silu"),
        (nn.GELU(), "gelu"),
        (nn.LeakyReLU(0.3), lambda x: functional.leaky_relu(x, 0.3)),
        (nn.Sigmoid(), torch.sigmoid),
        (nn.Softplus(beta=2.0), lambda x: functional.softplus(x, beta=2.0)),
        (nn.Hardtanh(-2.0, 2.0), lambda x: functional.hardtanh(x, -2.0, 2.0)),
        (nn.ReLU6(), functional.relu6),
        (nn.Mish(), functional.mish),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_activation_is_read_from_the_modules(module, activation):
    model = nn.Sequential(nn.Linear(8, 8), module, nn.Linear(8, 8), module, nn.Linear(8, 3), nn.Softmax(dim=-1))
    assert layer_chi(model, variance=0.8) == layer_chi(model, activation, variance=0.8)


def test_an_activation_that_has_to_be_named():
    several = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.Tanh())
    slopes = nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU(0.1), nn.Linear(2, 2), nn.LeakyReLU(0.2))
    learnt = nn.Sequential(nn.Linear(2, 2), nn.PReLU(), nn.Linear(2, 2))
    for model, got in (
        (several, r"ReLU\(\), Tanh\(\)"),
        (slopes, r"LeakyReLU\(negative_slope=0.1\), LeakyReLU"),
        (learnt, r"PReLU\(num_parameters=1\)"),
        (Backwards(), "none among the model's modules"),
    ):
        with pytest.raises(ValueError, match=r"layer_chi\(activation=\) must be given .*" + got):
            layer_chi(model, variance=1.0)
    alike = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(inplace=True))
    assert layer_chi(alike, variance=1.0).layers


def test_normalization_makes_it_void():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.warns(UserWarning, match=r"layer_chi\(model=\) has normalization layers"):
        found = layer_chi(model, variance=1.0)
    assert [layer.name for layer in found.layers] == ["0", "3"]


def test_a_layer_without_weights_is_the_end_of_order():
    model = at_the_edge("relu", depth=3, width=8)
    found = layer_chi(model, variance=1.0, masks={"2.weight": torch.zeros(8, 8, dtype=torch.bool)})
    assert (found.layers[1].chi, found.product, found.mean_log, found.phase) == (0.0, 0.0, -math.inf, "ordered")


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_weights_that_float64_cannot_square_are_told(value):
    model = at_the_edge("relu", depth=3, width=8).double()
    nn.init.constant_(model[2].weight, value)
    with pytest.raises(PruningError, match=r"layer_chi\(model=\) must be one of finite weights and variances; '2' has"):
        layer_chi(model, variance=1.0)


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.ReLU(), nn.Linear(4, 2)).train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    found = layer_chi(model, example_inputs=normal(5, 3))
    assert found == layer_chi(model, example_inputs=normal(5, 3))
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_half_precision_and_parametrized_weights():
    model = at_the_edge("relu", width=32).bfloat16()
    assert layer_chi(model, variance=1.0).phase == "edge of chaos"
    plain = at_the_edge("relu", width=32)
    expected = layer_chi(plain, variance=1.0)
    nn.utils.parametrizations.weight_norm(plain[2])
    assert layer_chi(plain, variance=1.0).layers[1].chi == pytest.approx(expected.layers[1].chi, rel=1e-5)


def test_wrong_arguments():
    model, mask = network(depth=2, width=4), torch.ones(4, 4, dtype=torch.bool)
    for wrong, said in (
        (lambda: layer_chi("model", variance=1.0), r"layer_chi\(model=\) must be an nn.Module"),
        (lambda: layer_chi(model), r"layer_chi\(example_inputs=\) must be given where variance is not"),
        (lambda: layer_chi(model, variance=0.0), r"layer_chi\(variance=\) must be a variance above 0"),
        (lambda: layer_chi(model, "rely", variance=1.0), r"layer_chi\(activation=\) has no 'rely'"),
        (lambda: layer_chi(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), variance=1.0), r"must be one with two linear"),
        (lambda: layer_chi(model, variance=1.0, masks={"no": mask}), r"layer_chi\(masks=\): the model has no 'no'"),
        (lambda: layer_chi(model, variance=1.0, masks={"0.weight": mask[0]}), r"mask of '0.weight' must be of single"),
        (lambda: layer_chi(model, variance=1.0, masks=[mask]), r"layer_chi\(masks=\) must be a mapping"),
    ):
        with pytest.raises(ValueError, match=said):
            wrong()
    with pytest.raises(PruningError, match=r"'0' gives 0"):
        layer_chi(model, example_inputs=torch.zeros(2, 4))
    with pytest.raises(PruningError, match=r"layer_chi\(example_inputs=\) must be what the model is called with"):
        layer_chi(model, example_inputs=torch.zeros(2, 5))
