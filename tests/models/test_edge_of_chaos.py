"""The edge of chaos against closed forms and a table that was computed elsewhere."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import flowprune as fp
from flowprune.core.errors import PruningError, UnknownNameError
from flowprune.models.edge_of_chaos import ACTIVATIONS, edge_of_chaos
from flowprune.models.gaussian import derivative, expectation
from flowprune.models.initializers import edge_of_chaos_, normal_

TABLE = {  # (activation, sigma_b): q, sigma_w, slope of the variance map
    ("tanh", 0.05): (0.1537, 1.1225, 0.78),
    ("tanh", 0.1): (0.2733, 1.1934, 0.68),
    ("tanh", 0.2): (0.5121, 1.3041, 0.54),
    ("erf", 0.05): (0.1451, 0.9937, 0.78),
    ("erf", 0.1): (0.2532, 1.0556, 0.66),
    ("erf", 0.2): (0.4658, 1.1528, 0.52),
    ("elu", 0.05): (0.1892, 1.1319, 0.89),
    ("elu", 0.2): (1.1069, 1.2293, 0.86),
    ("elu", 0.5): (4.8866, 1.3061, 0.88),
    ("selu", 0.05): (0.1405, 0.8220, 0.83),
    ("selu", 0.3): (1.2216, 0.9836, 0.72),
    ("gelu", 0.5): (6.4341, 1.3999, 0.99),
}
UNSTABLE = {
    ("silu", 0.05): (0.1136, 1.9050, 1.04),
    ("silu", 0.2): (0.6895, 1.6795, 1.10),
    ("silu", 0.5): (4.4281, 1.4569, 1.05),
    ("gelu", 0.1): (0.1835, 1.7271, 1.10),
}


@pytest.mark.parametrize(("case", "expected"), TABLE.items())
def test_the_table(case, expected):
    found = edge_of_chaos(*case)
    assert found.stable
    assert found.variance == pytest.approx(expected[0], abs=1e-3)
    assert found.sigma_w == pytest.approx(expected[1], abs=1e-3)
    assert found.slope == pytest.approx(expected[2], abs=6e-3)


@pytest.mark.parametrize(("case", "expected"), UNSTABLE.items())
def test_an_unstable_fixed_point_is_told(case, expected):
    with pytest.warns(UserWarning, match=r"is unstable, with slope 1\.\d+ of the variance map"):
        found = edge_of_chaos(*case)
    assert not found.stable
    assert (found.variance, found.sigma_w) == pytest.approx(expected[:2], abs=1e-3)


@pytest.mark.parametrize("case", TABLE)
def test_it_is_a_fixed_point_of_slope_one(case):
    found, phi = edge_of_chaos(*case), ACTIVATIONS[case[0]]
    slope = derivative(phi)
    assert found.sigma_w**2 * expectation(lambda x: slope(x) ** 2, found.variance) == pytest.approx(1, abs=1e-9)
    image = found.sigma_b**2 + found.sigma_w**2 * expectation(lambda x: phi(x) ** 2, found.variance)
    assert image == pytest.approx(found.variance, rel=1e-9)


def test_closed_forms_without_biases():
    assert edge_of_chaos("relu").sigma_w == pytest.approx(math.sqrt(2))
    assert edge_of_chaos("relu").variance is None
    leaky = edge_of_chaos(lambda x: functional.leaky_relu(x, 0.3))
    assert leaky.sigma_w**2 == pytest.approx(2 / (1 + 0.3**2))
    assert edge_of_chaos("tanh").sigma_w == pytest.approx(1)
    assert edge_of_chaos("erf").sigma_w == pytest.approx(math.sqrt(math.pi) / 2)
    scale, alpha = 1.0507009873554805, 1.6732632423543772  # at zero selu is a line on each side
    assert edge_of_chaos("selu").sigma_w ** 2 == pytest.approx(2 / (scale**2 * (1 + alpha**2)))


@pytest.mark.parametrize(("activation", "sigma_b"), [("relu", 0.1), (functional.softplus, 0.1)])
def test_an_activation_without_one_is_refused(activation, sigma_b):
    with pytest.raises(PruningError, match=r"with an edge of chaos at sigma_b=0\.1; .* has none for variances from"):
        edge_of_chaos(activation, sigma_b)


@pytest.mark.parametrize("activation", [lambda x: 0 * x, torch.sign, torch.ones_like, lambda x: (x > 0).double()])
@pytest.mark.parametrize("sigma_b", [0.0, 0.1])
def test_a_constant_or_a_step_has_none(activation, sigma_b):
    with pytest.raises(PruningError, match="with an edge of chaos"):
        edge_of_chaos(activation, sigma_b)


@pytest.mark.parametrize(
    "activation",
    [lambda x: x.mean(), lambda x: torch.softmax(x, -1), lambda x: x[:1], lambda x: 1.0, 3, nn.Linear(2, 2)],
)
def test_a_function_of_more_than_an_entry_is_refused(activation):
    with pytest.raises(
        ValueError, match=r"edge_of_chaos\(activation=\) must be a name, or a function .* entry by entry"
    ):
        edge_of_chaos(activation, 0.1)


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_without_biases_signals_leave_an_unstable_zero(activation):
    with pytest.warns(UserWarning, match="the fixed point 0 is unstable"):
        found = edge_of_chaos(activation)
    assert not found.stable
    assert (found.sigma_w, found.variance) == (pytest.approx(2), 0.0)  # 1 / φ'(0)
    q, phi = 0.01, ACTIVATIONS[activation]
    assert found.slope == pytest.approx(found.sigma_w**2 * expectation(lambda x: phi(x) ** 2, q) / q)


@pytest.mark.parametrize("activation", ["tanh", "erf", "elu", "selu"])
def test_without_biases_signals_die_at_a_stable_zero(activation):
    found = edge_of_chaos(activation)
    assert found.stable
    assert found.variance == 0.0
    q = 1.0
    for _ in range(200):
        q = found.sigma_w**2 * expectation(lambda x: ACTIVATIONS[activation](x) ** 2, q)
    assert q < 0.02
    if activation == "tanh":  # V(q) = q - 2 q² + ..., so q falls as 1 / (2 l)
        assert q * 2 * 200 == pytest.approx(1, rel=0.05)


def test_wrong_arguments():
    with pytest.raises(UnknownNameError, match=r"edge_of_chaos\(activation=\) has no 'rely'.*Known: elu, erf"):
        edge_of_chaos("rely")
    for sigma_b in (-0.1, math.inf, math.nan, "x", None):
        with pytest.raises(ValueError, match=r"edge_of_chaos\(sigma_b=\) must be a standard deviation >= 0"):
            edge_of_chaos("tanh", sigma_b)


def deep(depth=20, width=400, bias=True):
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width, bias=bias), nn.Tanh())]
    return nn.Sequential(*layers).double()


def test_the_variance_stays_where_it_was_put():
    model, generator = deep(), torch.Generator().manual_seed(0)
    point = edge_of_chaos_(model, "tanh", 0.2, generator=generator)
    x = torch.randn(50, 400, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        last = model[:-1](x)  # up to the last linear layer
    assert float(last.square().mean()) == pytest.approx(point.variance, rel=0.15)


def test_a_convolution_counts_its_kernel():
    model = nn.Conv2d(16, 64, 5)
    point = edge_of_chaos_(model, "relu", generator=torch.Generator().manual_seed(0))
    assert float(model.weight.detach().var()) * 16 * 25 == pytest.approx(point.sigma_w**2, rel=0.03)
    assert not model.bias.any()


@pytest.mark.parametrize("draw", [lambda m: normal_(m, 1.0, 0.5), lambda m: edge_of_chaos_(m, "tanh", 0.2)])
def test_what_masks_hold_stays_zero(draw):
    """RT-8: drawing anew must not let masked weights grow back."""
    model = nn.Sequential(nn.Conv1d(3, 4, 2), nn.Flatten(), nn.Linear(4, 5))
    masks = {name: (torch.arange(p.numel()) % 2 == 0).view(p.shape) for name, p in model.named_parameters()}
    fp.apply(model, masks)
    draw(model)
    for name, param in model.named_parameters():
        assert torch.equal(param != 0, masks[name])


def test_the_same_generator_draws_the_same():
    first, second = (deep(2, 5) for _ in range(2))
    for model in (first, second):
        edge_of_chaos_(model, "tanh", 0.1, generator=torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_what_cannot_be_initialised():
    with pytest.raises(ValueError, match="one with linear or convolutional layers; got 'ReLU'"):
        edge_of_chaos_(nn.ReLU(), "relu")
    for sigma_w in (0.0, -1.0, math.nan, "x", True):
        with pytest.raises(ValueError, match=r"normal_\(sigma_w=\) must be a standard deviation above 0"):
            normal_(nn.Linear(2, 2), sigma_w)
    with pytest.raises(ValueError, match=r"edge_of_chaos_\(sigma_b=\) must be 0 for layers without bias, such as '0'"):
        edge_of_chaos_(deep(2, 3, bias=False), "tanh", 0.1)
