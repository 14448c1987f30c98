"""Maps of variance and correlation by depth, against closed forms and wide networks."""

from __future__ import annotations

import math

import pytest
import torch

from flowprune.analysis import mean_field
from flowprune.core.errors import PruningError


def test_relu_in_closed_form():
    found = mean_field.variance_map("relu", 1.2, 0.2, depth=3, start=0.7)
    expected = [0.7]
    for _ in range(3):
        expected.append(0.04 + 1.44 * expected[-1] / 2)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    c = 0.3
    arc = (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi  # of relu at the edge of chaos
    assert float(mean_field.correlation_map("relu", math.sqrt(2), depth=1, start=c)[1]) == pytest.approx(arc, abs=1e-4)


def test_the_edge_is_a_fixed_point_and_chi_is_one():
    point = mean_field.edge_of_chaos("tanh", 0.2)
    q = mean_field.variance_map("tanh", point.sigma_w, 0.2, depth=60)
    assert float(q[-1]) == pytest.approx(point.variance, abs=1e-9)
    assert mean_field.chi("tanh", point.sigma_w, point.variance) == pytest.approx(1, abs=1e-9)
    equal = mean_field.correlation_map("tanh", point.sigma_w, 0.2, depth=3, start=1.0, variance=point.variance)
    torch.testing.assert_close(equal, torch.ones(4, dtype=torch.float64))


def test_order_and_chaos():
    """Inputs become alike where chi is below one, and part where it is above."""
    ordered, chaotic = (mean_field.correlation_map("tanh", s, 0.2, depth=60, start=0.5) for s in (0.9, 2.5))
    assert float(ordered[-1]) == pytest.approx(1, abs=1e-5)
    assert float(chaotic[-1]) < 0.5


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_wide_networks_agree(activation):
    """The mean over networks, as a wide one fluctuates by a few per cent in each layer."""
    phi, sigma_w, sigma_b, width, depth = mean_field.ACTIVATIONS[activation], 1.3, 0.3, 600, 4
    seen = torch.zeros(depth, 3, dtype=torch.float64)
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(2, width, generator=generator, dtype=torch.float64)
        x[1] = 0.6 * x[0] + 0.8 * x[1]
        for layer in range(depth):
            weight = torch.randn(width, width, generator=generator, dtype=torch.float64) * sigma_w / math.sqrt(width)
            x = phi(x) @ weight.T + sigma_b * torch.randn(width, generator=generator, dtype=torch.float64)
            seen[layer] += torch.stack([*x.square().mean(1), (x[0] * x[1]).mean()]) / 10
    q = mean_field.variance_map(activation, sigma_w, sigma_b, depth=depth)[1:]
    c = mean_field.correlation_map(activation, sigma_w, sigma_b, depth=depth, start=0.6)[1:]
    torch.testing.assert_close(seen, torch.stack([q, q, c * q], 1), rtol=0.08, atol=0)


def slope_of_scores(activation, sigma_w, sigma_b, depth=40, width=200, draws=20):
    """The slope of log E[(W dL/dW)²] against the layer, of networks with a random read-out; over the middle layers.

    Of one example: how gradients of several add up changes with depth as they become alike.
    """
    phi, found = mean_field.ACTIVATIONS[activation], torch.zeros(depth, dtype=torch.float64)
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)

        def drawn(*shape, generator=generator):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        weights = [(drawn(width, width) * sigma_w / math.sqrt(width)).requires_grad_() for _ in range(depth)]
        h = drawn(1, width)
        for weight in weights:
            h = phi(h) @ weight.T + sigma_b * drawn(width)
        (phi(h) @ drawn(width)).mean().backward()
        found += torch.stack([(w.detach() * w.grad).square().mean().log() for w in weights]) / draws
    middle = found[5:-5]
    return float((middle[-1] - middle[0]) / (len(middle) - 1))


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1.0, 0.2), (0.9, 0.2), (2.0, 0.2)])
def test_scores_by_depth_fall_as_predicted(sigma_w, sigma_b):
    """RP-2: the slope is -log chi within 15 per cent."""
    predicted = mean_field.score_scale("tanh", sigma_w, sigma_b, depth=40).log()[5:-5]
    slope = float((predicted[-1] - predicted[0]) / (len(predicted) - 1))
    assert slope_of_scores("tanh", sigma_w, sigma_b) == pytest.approx(slope, rel=0.15)


def test_scores_at_the_edge_of_chaos_are_alike():
    point = mean_field.edge_of_chaos("tanh", 0.2)
    predicted = mean_field.score_scale("tanh", point.sigma_w, 0.2, depth=40, start=point.variance)
    torch.testing.assert_close(predicted, torch.ones(40, dtype=torch.float64), rtol=1e-6, atol=0)
    assert abs(slope_of_scores("tanh", point.sigma_w, 0.2)) < 0.05


def test_wrong_arguments():
    for wrong, said in (
        (lambda: mean_field.variance_map("relu", 1.0, depth=0), r"variance_map\(depth=\)"),
        (lambda: mean_field.variance_map("relu", 1.0, depth=1, start=-1), r"variance_map\(start=\)"),
        (lambda: mean_field.correlation_map("relu", 1.0, depth=1, start=2), r"correlation_map\(start=\)"),
        (
            lambda: mean_field.correlation_map("relu", 1.0, depth=1, start=0, variance=0),
            r"correlation_map\(variance=\)",
        ),
        (lambda: mean_field.chi("rely", 1.0, 1.0), "has no 'rely'"),
        (lambda: mean_field.chi("relu", 2**0.5, -1.0), r"chi\(variance=\) must be a variance >= 0; got -1.0"),
        (lambda: mean_field.chi("relu", 2**0.5, math.nan), r"chi\(variance=\)"),
        (lambda: mean_field.variance_map("relu", 1.0, depth=1, start=math.nan), r"variance_map\(start=\)"),
        (lambda: mean_field.variance_map(lambda x: x.mean(), 1.0, depth=1), "entry by entry"),
        (lambda: mean_field.correlation_map("relu", 1.0, depth=1, start=0, variance=math.inf), r"\(variance=\)"),
        (lambda: mean_field.sensitivities("relu", 1.0, depth=1, start=math.inf), r"sensitivities\(start=\)"),
    ):
        with pytest.raises(ValueError, match=said):
            wrong()


@pytest.mark.parametrize("variance", [0.0, 1e-300, 1e-24, 1.0, 1e300])
@pytest.mark.parametrize(("activation", "sigma_w"), [("relu", 2**0.5), ("leaky_relu", (2 / (1 + 0.01**2)) ** 0.5)])
def test_chi_of_a_homogeneous_activation_is_one_at_all_variances(activation, sigma_w, variance):
    assert mean_field.chi(activation, sigma_w, variance) == pytest.approx(1, abs=1e-12)


def test_chi_at_variance_zero_is_the_limit_from_above():
    assert mean_field.chi("tanh", 1.3, 0.0) == pytest.approx(1.69)
    assert mean_field.chi("selu", 1.0, 0.0) == mean_field.chi("selu", 1.0, 1e-24)


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf, "x", None])
@pytest.mark.parametrize("which", ["sigma_w", "sigma_b"])
def test_standard_deviations_are_checked_everywhere(sigma, which):
    given = {"sigma_w": 1.0, "sigma_b": 0.1, which: sigma}
    for function, more in (
        (mean_field.variance_map, {"depth": 2}),
        (mean_field.correlation_map, {"depth": 2, "start": 0.5}),
        (mean_field.score_scale, {"depth": 2}),
        (mean_field.sensitivities, {"depth": 2}),
        (mean_field.critical_sparsity, {"depth": 2, "width": 3}),
    ):
        with pytest.raises(ValueError, match=rf"{function.__name__}\({which}=\) must be a standard deviation"):
            function("tanh", **given, **more)
    if which == "sigma_w":
        with pytest.raises(ValueError, match=r"chi\(sigma_w=\) must be a standard deviation"):
            mean_field.chi("tanh", sigma, 1.0)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: mean_field.variance_map("relu", 1e200, depth=5), r"variance_map\(\) .* that of layer 1 is inf"),
        (lambda: mean_field.variance_map("relu", 10.0, depth=400), r"variance_map\(\) .* is inf\. Go less deep"),
        (lambda: mean_field.correlation_map("tanh", 0.5, depth=2000, start=0.5), r"correlation_map\(\) .* has 0\. Go"),
        (lambda: mean_field.correlation_map("tanh", 0.0, depth=1, start=0.5), r"layer 1 has 0"),
        (lambda: mean_field.correlation_map("relu", 1e200, depth=2, start=0.5), r"layer 1 has inf"),
        (lambda: mean_field.score_scale("tanh", 0.5, depth=3000), r"score_scale\(\) .* that of layer \d+ is nan"),
        (lambda: mean_field.score_scale("relu", 1e200, depth=3), r"score_scale\(\) .* is inf"),
        (lambda: mean_field.chi("relu", 1e200, 1.0), r"chi\(\) must be of a network of which float64 holds"),
        (lambda: mean_field.sensitivities("relu", 1e200, depth=3), r"sensitivities\(depth=\)"),
    ],
)
def test_what_float64_cannot_hold_is_told(act, said):
    with pytest.raises(PruningError, match=said):
        act()
