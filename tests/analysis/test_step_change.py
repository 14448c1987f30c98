"""Predicted against measured change of the loss for any step, and for compensated cuts."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.analysis import compensated_change, measured_step_change, predicted_step_change
from flowprune.signals import Signals


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 3)).double()


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (200,), generator=generator)


def scores(model):
    return fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Weights())


@pytest.mark.parametrize("order", [1, 2])
def test_the_step_of_a_cut_is_predicted_as_the_cut(order):
    model = network()
    signals = fp.gather(model, fp.objectives.cross_entropy(), [batch()], needs=("gradient", "fisher"))
    signals = Signals(params=signals.params, gradient=signals.gradient, curvature=signals.fisher)
    masks = fp.select(scores(model), 0.4)
    step = {name: -signals.params[name] * ~mask for name, mask in masks.items()}
    assert predicted_step_change(signals, step, order) == pytest.approx(fp.predicted_change(signals, masks, order))
    measured = fp.measured_change(model, fp.objectives.cross_entropy(), [batch()], masks)
    assert measured_step_change(model, fp.objectives.cross_entropy(), [batch()], step) == pytest.approx(measured)


def test_what_is_not_predicted_falls_with_the_square_of_the_step():
    model, objective = network(), fp.objectives.cross_entropy()
    signals = fp.gather(model, objective, [batch()], needs=("gradient",))
    torch.manual_seed(1)
    direction = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    missed = []
    for size in (1e-2, 1e-3):
        step = {name: size * d for name, d in direction.items()}
        missed.append(
            abs(measured_step_change(model, objective, [batch()], step) - predicted_step_change(signals, step))
        )
    assert math.log10(missed[0] / missed[1]) == pytest.approx(2, abs=0.1)


def test_a_diagonal_quadratic_is_predicted_exactly():
    theta, d = torch.randn(6, dtype=torch.float64), torch.rand(6, dtype=torch.float64)
    step = torch.randn(6, dtype=torch.float64)
    signals = Signals(params={"w": theta}, gradient={"w": d * theta}, curvature={"w": d})
    exact = 0.5 * float((d * (theta + step).square()).sum() - (d * theta.square()).sum())
    assert predicted_step_change(signals, {"w": step}, order=2) == pytest.approx(exact, rel=1e-12)


def test_a_compensated_cut_costs_less_of_a_trained_network():
    """Inputs are independent here, so that the first layer has little to make up with: 0.034 in place of 0.048."""
    model, objective, (x, y) = network(), fp.objectives.cross_entropy(), batch()
    y = (x @ torch.randn(5, 3, generator=torch.Generator().manual_seed(2)).double()).argmax(1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = objective(model, (x, y)) + 1e-3 * sum(p.square().sum() for p in model.parameters())
        loss.backward()
        return loss

    optimizer.step(closure)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    signals = fp.gather(model, objective, [(x, y)], needs=("gradient", "fisher"))
    known = Signals(params=signals.params, gradient=signals.gradient, curvature=signals.fisher)
    masks = fp.select(scores(model), 0.3)
    found = compensated_change(model, objective, [(x, y)], masks, signals=known)
    twin = copy.deepcopy(model)
    fp.compensate(twin, masks, [(x, y)])
    loss = fp.signals.mean_loss
    assert found.compensated.measured == pytest.approx(
        loss(twin, objective, [(x, y)]) - loss(model, objective, [(x, y)])
    )
    assert 0 < found.compensated.measured < found.masked.measured
    assert found.masked.second == pytest.approx(fp.predicted_change(known, masks, order=2))
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    assert fp.masks.masks_of(model) == {}
    assert "order 2" in str(found)
    assert compensated_change(model, objective, [(x, y)], masks).masked.second is None


def test_what_is_refused():
    model, objective = network(), fp.objectives.cross_entropy()
    signals = fp.gather(model, objective, [batch()], needs=("gradient",))
    one = torch.ones(12, 5, dtype=torch.float64)
    for step, order, said in (
        ({"w": one}, 1, r"predicted_step_change\(step=\) has no 'w'"),
        ({"0.weight": one[:2]}, 1, r"predicted_step_change\(step=\): '0.weight' must be of shape \(12, 5\)"),
        ({"0.weight": one}, 3, r"predicted_step_change\(order=\) must be 1 or 2; got 3"),
        ({"0.weight": one}, 2, r"Signals\.curvature must be gathered before it is used"),
    ):
        with pytest.raises(ValueError, match=said):
            predicted_step_change(signals, step, order)
    with pytest.raises(ValueError, match=r"measured_step_change\(step=\) has no 'w'"):
        measured_step_change(model, objective, [batch()], {"w": one})
    frozen = network()
    frozen[0].weight.requires_grad_(False)
    partial = fp.gather(frozen, objective, [batch()], needs=("gradient",))
    with pytest.raises(ValueError, match=r"a gradient for everything that moves; got \"none for '0.weight'\""):
        predicted_step_change(partial, {"0.weight": one})
    assert predicted_step_change(partial, {"0.weight": 0 * one}) == 0.0
    with pytest.raises(
        ValueError, match=r"compensated_change\(signals=\) must be gathered at the weights that the model has now"
    ):
        compensated_change(network(1), objective, [batch()], fp.select(scores(network(1)), 0.3), signals=signals)
