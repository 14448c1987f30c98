"""E1 to E9 of the framework against gradient flow itself."""

import copy

import pytest
import torch
from torch import nn

from flowprune.analysis import corrected_velocity, flow, measured_flow
from flowprune.core.tensors import squared_norm
from flowprune.objectives import cross_entropy
from flowprune.signals import Signals, gather
from tests.reference.flow import euler, gradient, rk4, tanh_net
from tests.reference.order import log_log_slope


def exact_signals(loss, theta: torch.Tensor) -> Signals:
    g = gradient(loss, theta)
    hessian = torch.func.hessian(loss)(theta)
    return Signals(params={"p": theta}, gradient={"p": g}, hessian_gradient={"p": hessian @ g}, loss=loss(theta).item())


def test_e2_to_e5_are_the_derivatives_along_a_fine_runge_kutta_flow() -> None:
    loss, theta = tanh_net()
    predicted = flow(exact_signals(loss, theta))
    h = 1e-3
    ahead, behind = rk4(loss, theta, h, 4), rk4(loss, theta, -h, 4)
    n, na, nb = (float(p @ p) for p in (theta, ahead, behind))
    assert (na - nb) / (2 * h) == pytest.approx(predicted.velocity, rel=1e-6)
    assert (na - 2 * n + nb) / h**2 == pytest.approx(predicted.acceleration, rel=1e-5)
    assert float(loss(ahead) - loss(behind)) / (2 * h) == pytest.approx(predicted.loss_velocity, rel=1e-6)
    gg = [float(gradient(loss, p).square().sum()) for p in (ahead, behind)]
    assert (gg[0] - gg[1]) / (2 * h) == pytest.approx(predicted.gradient_norm2_velocity, rel=1e-6)


def test_the_norm_follows_its_second_order_expansion_to_third_order() -> None:
    loss, theta = tanh_net(1)
    f = flow(exact_signals(loss, theta))
    times = [2.0**-k for k in range(2, 8)]
    errors = [
        abs(squared_norm([rk4(loss, theta, t, 32)]) - (f.norm2 + f.velocity * t + f.acceleration * t * t / 2))
        for t in times
    ]
    assert log_log_slope(times, errors) == pytest.approx(3.0, abs=0.1)


def test_euler_steps_approach_the_flow_at_first_order() -> None:
    loss, theta = tanh_net(2)
    truth = squared_norm([rk4(loss, theta, 0.5, 64)])
    counts = [8, 16, 32, 64, 128]
    errors = [abs(squared_norm([euler(loss, theta, 0.5, n)]) - truth) for n in counts]
    assert log_log_slope([0.5 / n for n in counts], errors) == pytest.approx(1.0, abs=0.1)


def test_e8_and_e9_bound_the_loss_by_the_growth_of_the_norm() -> None:
    loss, theta = tanh_net(3)
    f = flow(exact_signals(loss, theta))
    assert -f.loss_velocity >= f.velocity**2 / (4 * f.norm2)
    tau = 2.0
    end = rk4(loss, theta, tau, 200)
    grown = (float(end.norm()) - float(theta.norm())) ** 2
    assert grown <= float((end - theta) @ (end - theta)) <= tau * float(loss(theta) - loss(end))


def test_a_real_sgd_step_with_decay_moves_the_norm_as_corrected() -> None:
    loss, theta = tanh_net(4)
    f = flow(exact_signals(loss, theta))
    for rate, decay in ((0.1, 0.0), (0.1, 0.01), (0.5, 0.2)):
        moved = theta - rate * (gradient(loss, theta) + decay * theta)
        measured = (float(moved @ moved) - f.norm2) / rate
        assert corrected_velocity(f, learning_rate=rate, weight_decay=decay) == pytest.approx(measured, rel=1e-10)
    with pytest.raises(ValueError, match="must have a velocity"):
        corrected_velocity(flow(Signals(params={"p": theta})))


def test_a_quadratic_at_its_minimum_zero_has_theta_hg_equal_to_the_squared_gradient() -> None:
    a = torch.randn(5, 5, dtype=torch.float64)
    a = a @ a.T
    theta = torch.randn(5, dtype=torch.float64)
    s = Signals(params={"p": theta}, gradient={"p": a @ theta}, hessian_gradient={"p": a @ a @ theta})
    f = flow(s)
    assert f.acceleration == pytest.approx(4 * f.gradient_norm2)


def test_measured_flow_agrees_with_the_prediction_on_a_network_and_leaves_it_as_found() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)).double()
    model(torch.randn(32, 1, 6, 6).double())  # running statistics
    batches = [(torch.randn(n, 1, 6, 6).double(), torch.randint(0, 3, (n,))) for n in (20, 12)]
    state = copy.deepcopy(model.state_dict())
    predicted = flow(gather(model, cross_entropy(), batches, needs=("gradient", "hessian_gradient")))
    measured = measured_flow(model, cross_entropy(), batches, step=1e-3)
    assert measured.velocity == pytest.approx(predicted.velocity, rel=1e-5)
    assert measured.acceleration == pytest.approx(predicted.acceleration, rel=1e-4)
    assert model.training
    assert all(torch.equal(v, model.state_dict()[n]) for n, v in state.items())
    with pytest.raises(ValueError, match="positive"):
        measured_flow(model, cross_entropy(), batches, step=0.0)


def test_parameters_alone_give_the_norm_alone() -> None:
    f = flow(Signals(params={"w": torch.tensor([3.0, 4.0])}))
    assert (f.norm2, f.velocity, f.acceleration) == (25.0, None, None)


def test_norms_of_a_hundred_million_entries_are_right_to_a_millionth() -> None:
    """float32 norm() is 1 % low there (pytorch/pytorch#68326)."""
    x = torch.full((100_000_000,), 0.1)
    exact = 100_000_000 * float(torch.tensor(0.1).double() ** 2)
    assert squared_norm([x]) == pytest.approx(exact, rel=1e-6)
