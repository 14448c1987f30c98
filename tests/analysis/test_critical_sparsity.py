"""The sparsity at which a layer of a deep network is pruned whole: RP-3, RP-4 and RP-5, and the prediction."""

from __future__ import annotations

import math

import pytest
import torch

from flowprune.analysis import mean_field
from flowprune.analysis.mean_field.sensitivities import Sensitivities
from flowprune.core.errors import PruningError

EDGE = mean_field.edge_of_chaos("tanh", 0.2).sigma_w


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("sigma_w", "sigma_b"), [(1.0, 0.2), (0.7, 0.1), (2.0, 0.2), (3.0, 0.2)], ids=["ordered", "far", "chaotic", "wild"]
)
def test_off_the_edge_layers_die_at_a_sparsity_of_one_over_depth(sigma_w, sigma_b):
    """RP-3 and RP-5: s L tends to a constant; layers 1 to 5 go first in the ordered phase, the last ones in chaos."""
    found = {depth: mean_field.critical_sparsity("tanh", sigma_w, sigma_b, depth=depth) for depth in (50, 100)}
    assert found[100].mean < 0.35
    assert found[50].mean / found[100].mean == pytest.approx(2, rel=0.15)
    for depth, each in found.items():
        ends = range(1, 6) if sigma_w < EDGE else range(depth - 5, depth + 1)
        assert set(each.layers) <= set(ends)
        assert 0.8 * each.mean < each.predicted < 1.05 * each.mean


@pytest.mark.parametrize("depth", [20, 50, 100])
def test_on_the_edge_no_depth_is_too_deep(depth):
    """RP-3 and RP-5: near 1 at every depth, and any layer may be the first."""
    found = mean_field.critical_sparsity("tanh", EDGE, 0.2, depth=depth, seeds=range(8))
    assert min(found.values) > 0.8
    assert found.mean > 0.93
    assert found.predicted == pytest.approx(found.mean, rel=0.05)
    if depth == 100:
        assert len(set(found.layers)) >= 4
        assert max(found.layers) > 5


@pytest.mark.parametrize("sigma_w", [1.0, 1.2, math.sqrt(2), 1.8])
def test_relu_without_biases_has_no_collapse(sigma_w):
    """RP-3 and RP-4: what gradients lose by depth, signals lose too."""
    found = mean_field.critical_sparsity("relu", sigma_w, depth=60)
    assert min(found.values) > 0.93
    assert found.predicted == pytest.approx(found.mean, rel=0.05)


def test_relu_without_biases_has_one_signed_sum_in_all_layers():
    """RP-4: Σ W dL/dW is the same in every layer, whatever sigma_w is."""
    weights = [(drawn(60, 60, seed=i) * 1.2 / math.sqrt(60)).requires_grad_() for i in range(30)]
    y = drawn(32, 60, seed=99)
    for weight in weights:
        y = torch.relu(y) @ weight.T
    (torch.relu(y) @ drawn(60, seed=100)).mean().backward()
    sums = torch.stack([(w.detach() * w.grad).sum() for w in weights])
    torch.testing.assert_close(sums, sums[:1].expand_as(sums), rtol=1e-6, atol=0)


def test_relu_with_biases_is_held_up_by_its_silent_units():
    """In the ordered phase three of four deep scores are zero exactly, and zeros go before any layer is emptied."""
    found = mean_field.critical_sparsity("relu", 1.0, 0.2, depth=60)
    assert found.predicted == pytest.approx(found.mean, rel=0.03)
    assert 0.75 < found.mean < 0.85
    assert set(found.layers) <= set(range(1, 6))


@pytest.mark.parametrize(("width", "first"), [(100, None), ([100] * 11 + [300] * 10, range(12, 21))])
def test_magnitudes(width, first):
    """Layers of one width go together at the very end; of several, those with the smallest weights go first."""
    found = mean_field.critical_sparsity("tanh", 1.0, depth=20, width=width, measure="magnitude", seeds=range(10))
    assert found.predicted == pytest.approx(found.mean, abs=3e-4)
    assert found.std < 5e-4
    if first is None:
        assert found.mean > 0.999
        assert len(set(found.layers)) > 3
    else:
        assert set(found.layers) <= set(first)


def test_a_wide_layer_among_narrow_ones_dies_by_magnitude():
    """Kaiming's scale falls with fan-in: at ten times the width, the best is worth what a narrow layer's middle is."""
    found = mean_field.critical_sparsity("relu", 1.4, depth=3, width=[30, 900, 30, 30], measure="magnitude")
    assert set(found.layers) == {2}
    assert found.predicted == pytest.approx(found.mean, rel=0.02)


def test_scores_spread_as_products_do():
    n = 400_000
    w, one, two, three = drawn(4, n)
    for own, common in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5)):
        spread = Sensitivities(*torch.tensor([[own], [common], [0.0]], dtype=torch.float64))
        seen = (w * (math.sqrt(own) * one + math.sqrt(common) * two * three)).abs()
        for threshold in (0.1, 1.0, 3.0):
            assert float(spread.below(threshold)) == pytest.approx(float((seen <= threshold).double().mean()), abs=4e-3)


def test_silent_scores_are_below_everything_and_the_mean_square_stays():
    spread = Sensitivities(*torch.tensor([[1.0], [0.0], [0.75]], dtype=torch.float64))
    assert float(spread.below(0.0)) == 0.75
    grid = torch.linspace(0, 40, 1001, dtype=torch.float64)
    above = torch.stack([1 - spread.below(float(t)) for t in grid]).flatten()
    assert float(torch.trapezoid(2 * grid * above, grid)) == pytest.approx(1.0, rel=1e-3)  # ∫ 2t P(score > t) dt


@pytest.mark.parametrize(("activation", "batch"), [("tanh", 1), ("tanh", 8), ("relu", 8)])
def test_mean_squares_and_zeros_of_networks(activation, batch):
    """Networks of width 200, layer by layer; the last of six layers, and the first, are off by sampling alone."""
    phi, width, depth, draws = mean_field.ACTIVATIONS[activation], 200, 6, 10
    squares, zeros = torch.zeros(2, depth, dtype=torch.float64)
    for draw in range(draws):
        noise = torch.Generator().manual_seed(draw)

        def normal(*shape, noise=noise):
            return torch.randn(*shape, generator=noise, dtype=torch.float64)

        weights = [(normal(width, width) * 1.1 / math.sqrt(width)).requires_grad_() for _ in range(depth)]
        y = normal(batch, width)
        for weight in weights:
            y = phi(y) @ weight.T + 0.3 * normal(width)
        (phi(y) @ normal(width)).mean().backward()
        scores = [(w.detach() * w.grad) for w in weights]
        squares += torch.stack([s.square().mean() for s in scores]) * width / 1.21 / draws
        zeros += torch.stack([(s == 0).double().mean() for s in scores]) / draws
    found = mean_field.sensitivities(activation, 1.1, 0.3, depth=depth, batch=batch)
    torch.testing.assert_close(found.own + found.common, squares, rtol=0.2, atol=0)
    torch.testing.assert_close(found.silent, zeros, rtol=0.05, atol=1e-6)


def test_one_example_has_the_scale_of_the_maps():
    for activation, sigma_w, sigma_b in (("tanh", 0.9, 0.2), ("relu", 1.2, 0.3), ("relu", 1.2, 0.0)):
        squares = mean_field.sensitivities(activation, sigma_w, sigma_b, depth=12, batch=1).scale.square()
        expected = mean_field.score_scale(activation, sigma_w, sigma_b, depth=12)
        torch.testing.assert_close(squares / squares[-1], expected, rtol=1e-6, atol=0)


def test_seeds_decide_and_nothing_else_is_touched():
    before = torch.get_rng_state()
    with torch.no_grad():
        found = [mean_field.critical_sparsity("tanh", 1.0, 0.1, depth=4, width=20, seeds=s) for s in ([3], [3], [4])]
    assert found[0] == found[1]
    assert found[0].values != found[2].values
    assert (found[0].n, found[0].std) == (1, None)
    assert torch.equal(torch.get_rng_state(), before)


def test_scores_too_small_for_float64_are_refused():
    with pytest.raises(PruningError, match=r"that of layer 1 of 200 is 0"):
        mean_field.critical_sparsity("tanh", 0.01, 0.2, depth=200, width=5)


def test_wrong_arguments():
    def critical(*args, **changed):
        return mean_field.critical_sparsity(*(args or ("tanh", 1.0)), **{"depth": 2, **changed})

    for wrong, said in (
        (lambda: critical(depth=0), r"critical_sparsity\(depth=\) must be a whole number >= 1"),
        (lambda: critical(width=0), r"critical_sparsity\(width=\) must be a whole number >= 1"),
        (lambda: critical(width=[5, 5]), r"critical_sparsity\(width=\) must be a number, or 3 of them for 2 layers"),
        (lambda: critical(measure="snip"), r"critical_sparsity\(measure=\) has no 'snip'"),
        (lambda: critical("rely", 1.0), r"critical_sparsity\(activation=\) has no 'rely'"),
        (lambda: critical("tanh", 0.0), r"critical_sparsity\(sigma_w=\) must be a standard deviation above 0"),
        (lambda: critical("tanh", 1.0, -1.0), r"critical_sparsity\(sigma_b=\) must be a standard deviation >= 0"),
        (lambda: critical(seeds=[]), r"critical_sparsity\(seeds=\) must be at least one seed"),
        (lambda: critical(batch=0), r"critical_sparsity\(batch=\) must be a whole number >= 1"),
        (lambda: mean_field.sensitivities("tanh", 1.0, depth=1, start=0.0), r"sensitivities\(start=\) must be"),
    ):
        with pytest.raises(ValueError, match=said):
            wrong()
