"""Gradient flow of a masked model: the flow of what trains, predicted and measured."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.analysis import FollowedSteps, corrected_velocity, flow, measured_flow
from flowprune.signals import gather


@pytest.fixture
def masked():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    batches = [(torch.randn(n, 6).double(), torch.randint(3, (n,))) for n in (20, 12)]
    masks = {n: torch.rand(p.shape) > 0.6 for n, p in model.named_parameters() if p.dim() > 1}
    return fp.apply(model, masks), batches


def test_the_measured_flow_leaves_dead_weights_at_zero_and_agrees(masked) -> None:
    model, batches = masked
    predicted = flow(gather(model, fp.objectives.cross_entropy(), batches, needs=("gradient", "hessian_gradient")))
    measured = measured_flow(model, fp.objectives.cross_entropy(), batches, step=1e-3)
    assert measured.velocity == pytest.approx(predicted.velocity, rel=1e-5)
    assert measured.acceleration == pytest.approx(predicted.acceleration, rel=1e-4)


def test_a_real_step_of_a_masked_model_moves_norm_and_loss_as_predicted(masked) -> None:
    """Independent of gather: the optimizer's own step, at the same weights."""
    model, (batch, *_) = masked
    objective, rate = fp.objectives.cross_entropy(), 1e-4
    f = flow(gather(model, objective, [batch]))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    followed = FollowedSteps(optimizer, steps=1)
    before = objective(model, batch)
    before.backward()
    optimizer.step()
    assert followed.change.measured / rate == pytest.approx(corrected_velocity(f, learning_rate=rate), rel=1e-8)
    assert float((objective(model, batch) - before).detach()) / rate == pytest.approx(f.loss_velocity, rel=1e-3)
