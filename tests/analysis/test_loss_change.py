"""E6 and E7: what a cut costs, predicted and measured."""

import copy

import pytest
import torch
from torch import nn

from flowprune.analysis import measured_change, predicted_change, predicted_gradient_norm_change
from flowprune.core.tensors import squared_norm
from flowprune.masks import select
from flowprune.measures import score
from flowprune.objectives import cross_entropy
from flowprune.signals import Signals, gather
from tests.reference.order import log_log_slope


def case() -> tuple[nn.Module, list]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    batches = [(torch.randn(n, 5).double(), torch.randint(0, 3, (n,))) for n in (40, 24)]
    return model, batches


@torch.no_grad()
def shrunk(model: nn.Module, masks, h: float) -> nn.Module:
    """A copy with the masked entries a fraction h of the way to zero."""
    result = copy.deepcopy(model)
    for name, param in result.named_parameters():
        if name in masks:
            param[~masks[name]] *= 1 - h
    return result


def test_taylor_remainder_of_e6_is_of_second_order_and_of_e7_too() -> None:
    model, batches = case()
    signals = gather(model, cross_entropy(), batches, needs=("gradient", "hessian_gradient"))
    masks = select(score("random", signals, seed=5), 0.5)
    dl, dg = predicted_change(signals, masks), predicted_gradient_norm_change(signals, masks)
    steps = [2.0**-k for k in range(3, 9)]
    loss_errors, norm_errors = [], []
    for h in steps:
        after = gather(shrunk(model, masks, h), cross_entropy(), batches)
        loss_errors.append(abs(after.loss - signals.loss - h * dl))
        norm_errors.append(abs(squared_norm(after.gradient) - squared_norm(signals.gradient) - h * dg))
    assert log_log_slope(steps, loss_errors) == pytest.approx(2.0, abs=0.1)
    assert log_log_slope(steps, norm_errors) == pytest.approx(2.0, abs=0.1)


def test_second_order_is_exact_for_one_weight_of_a_quadratic() -> None:
    """RT-4: the sign is -g*theta beside the curvature term."""
    a = torch.randn(6, 6, dtype=torch.float64)
    a, theta = a @ a.T, torch.randn(6, dtype=torch.float64)
    centre = torch.randn(6, dtype=torch.float64)

    def loss(p: torch.Tensor) -> float:
        return float(0.5 * (p - centre) @ a @ (p - centre))

    signals = Signals(params={"w": theta}, gradient={"w": a @ (theta - centre)}, curvature={"w": a.diagonal()})
    for i in range(6):
        keep = torch.ones(6, dtype=torch.bool)
        keep[i] = False
        cut = theta * keep
        assert predicted_change(signals, {"w": keep}, order=2) == pytest.approx(loss(cut) - loss(theta), rel=1e-10)


def test_measured_change_is_the_difference_of_losses_and_leaves_the_model() -> None:
    model, batches = case()
    masks = select(score("magnitude", gather(model, cross_entropy(), (), needs=())), 0.6)
    state = copy.deepcopy(model.state_dict())
    change = measured_change(model, cross_entropy(), iter(batches), masks)
    masked = shrunk(model, masks, 1.0)
    x, y = (torch.cat([b[i] for b in batches]) for i in (0, 1))
    loss = nn.functional.cross_entropy
    assert change == pytest.approx((loss(masked(x), y) - loss(model(x), y)).item(), rel=1e-10)
    assert all(torch.equal(v, model.state_dict()[n]) for n, v in state.items())


def test_loss_preservation_predicts_the_change_of_a_small_cut() -> None:
    model, batches = case()
    signals = gather(model, cross_entropy(), batches)
    masks = select(score("loss_preservation", signals), 0.05)
    predicted = predicted_change(signals, masks)
    assert measured_change(model, cross_entropy(), batches, masks) == pytest.approx(predicted, abs=2e-3)


def test_bad_input_is_refused() -> None:
    signals = Signals(params={"w": torch.ones(2)}, gradient={"w": torch.ones(2)})
    keep = {"w": torch.tensor([True, False])}
    with pytest.raises(ValueError, match="1 or 2"):
        predicted_change(signals, keep, order=3)
    with pytest.raises(ValueError, match="curvature"):
        predicted_change(signals, keep, order=2)
    with pytest.raises(ValueError, match="hessian_gradient"):
        predicted_gradient_norm_change(signals, keep)
