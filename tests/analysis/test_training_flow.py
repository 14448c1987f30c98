"""The norm along the optimizer's own steps."""

import copy

import pytest
import torch
from torch import nn

from flowprune.analysis import FollowedSteps, StepChange, corrected_velocity, flow
from flowprune.models import mlp
from flowprune.objectives import cross_entropy
from flowprune.signals import gather

OBJECTIVE = cross_entropy()
BATCH = (torch.randn(32, 6, generator=torch.Generator().manual_seed(0)).double(), torch.arange(32) % 3)


def network():
    return mlp(6, (8,), 3, activation="tanh").double()


def step(model, optimizer):
    optimizer.zero_grad()
    OBJECTIVE(model, BATCH).backward()
    optimizer.step()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_with_all_corrections_the_prediction_is_exact(momentum, weight_decay):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=momentum, weight_decay=weight_decay)
    followed = FollowedSteps(optimizer, steps=7)
    for _ in range(9):
        step(model, optimizer)
    assert followed.done
    assert followed.change.steps == 7
    assert followed.change.momentum == pytest.approx(followed.change.measured, rel=1e-10)


def test_each_correction_brings_the_prediction_nearer_where_it_matters():
    """One step each: flow errs by decay and step size, decay by the step size, the step size by nothing."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, weight_decay=0.05)
    followed = FollowedSteps(optimizer, steps=1)
    step(model, optimizer)
    change = followed.change
    errors = [abs(value - change.measured) for value in (change.flow, change.decay, change.step_size)]
    assert errors[2] < 1e-12 < min(errors[:2])


def test_one_plain_step_is_the_corrected_velocity_of_the_flow():
    model = network()
    rate, decay = 0.1, 0.01
    predicted = corrected_velocity(flow(gather(model, OBJECTIVE, [BATCH])), learning_rate=rate, weight_decay=decay)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, weight_decay=decay)
    followed = FollowedSteps(optimizer, steps=1)
    step(model, optimizer)
    assert followed.change.measured / rate == pytest.approx(predicted, rel=1e-10)


@pytest.mark.parametrize(("rates", "slope"), [((0.02, 0.01), 2.0)])
def test_the_flow_errs_by_the_square_of_the_step(rates, slope):
    errors = []
    for rate in rates:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        followed = FollowedSteps(optimizer, steps=1)
        step(model, optimizer)
        errors.append(abs(followed.change.flow - followed.change.measured))
    assert torch.log2(torch.tensor(errors[0] / errors[1])).item() == pytest.approx(slope, abs=0.05)


def test_momentum_in_steady_state_is_a_larger_rate():
    """A constant gradient: after many steps v = g / (1 - mu), so flow at the effective rate is what happens."""
    weight = nn.Parameter(torch.zeros(3).double())
    optimizer = torch.optim.SGD([weight], lr=1e-4, momentum=0.9)

    def constant():
        optimizer.zero_grad()
        weight.sum().backward()
        optimizer.step()

    for _ in range(300):
        constant()
    followed = FollowedSteps(optimizer, steps=10)
    for _ in range(10):
        constant()
    assert followed.change.effective == pytest.approx(followed.change.measured, rel=0.03)
    assert followed.change.flow == pytest.approx(followed.change.measured / 10, rel=0.03)


def test_momentum_of_independent_gradients_is_a_larger_rate_on_average():
    """White noise and no loss: the norm grows by (eta / (1 - mu))² ‖g‖² a step, as effective says."""
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.zeros(2000).double())
    optimizer = torch.optim.SGD([weight], lr=1e-2, momentum=0.9)
    followed = FollowedSteps(optimizer, steps=400)
    for _ in range(400):
        weight.grad = torch.randn(2000, generator=generator, dtype=torch.float64)
        optimizer.step()
    assert followed.change.effective == pytest.approx(followed.change.measured, rel=0.1)
    assert followed.change.step_size < 0.1 * followed.change.measured


def test_looking_changes_nothing_and_ends():
    plain, watched = network(), None
    watched = copy.deepcopy(plain)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (plain, watched)]
    followed = FollowedSteps(optimizers[1], steps=2)
    for _ in range(3):
        for model, optimizer in zip((plain, watched), optimizers, strict=True):
            step(model, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))
    assert not optimizers[1]._optimizer_step_pre_hooks
    assert not optimizers[1]._optimizer_step_post_hooks
    assert followed.change.steps == 2


def test_changes_add_up():
    assert StepChange(1, 2, 3, 4, 5, 6, 1) + StepChange(1, 1, 1, 1, 1, 1, 2) == StepChange(2, 3, 4, 5, 6, 7, 3)


@pytest.mark.parametrize("nesterov", [True, False])
def test_an_optimizer_with_another_step_is_refused(nesterov):
    model = network()
    optimizer = (
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
        if nesterov
        else torch.optim.Adam(model.parameters())
    )
    with pytest.raises(ValueError, match=r"must be torch\.optim\.SGD without"):
        FollowedSteps(optimizer, steps=1)
    with pytest.raises(ValueError, match=">= 1"):
        FollowedSteps(torch.optim.SGD(model.parameters(), lr=0.1), steps=0)
