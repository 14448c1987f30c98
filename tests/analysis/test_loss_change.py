"""E6 and E7: what a cut costs, predicted and measured."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.analysis import loss_change, measured_change, predicted_change, predicted_gradient_norm_change
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


class Quadratic:
    """L = linear·θ + ½ (θ - c)ᵀ A (θ - c) of all parameters together, whatever they do; batches do not matter."""

    def __init__(self, model: nn.Module, *, coupled: bool, curved: bool = True) -> None:
        generator = torch.Generator().manual_seed(3)
        self.names, sizes = [n for n, _ in model.named_parameters()], [p.numel() for p in model.parameters()]
        n = sum(sizes)
        a = torch.randn(n, n, generator=generator, dtype=torch.float64) / n**0.5
        a = a @ a.T if coupled else torch.diag(a.diagonal())  # of either sign
        self.a = a if curved else 0 * a
        self.c, self.b = torch.randn(2, n, generator=generator, dtype=torch.float64)
        self.diagonal = {
            name: part.view_as(p)
            for (name, p), part in zip(model.named_parameters(), self.a.diagonal().split(sizes), strict=True)
        }

    def __call__(self, forward: nn.Module, batch: object) -> torch.Tensor:
        params = dict(forward.named_parameters())
        theta = torch.cat([params[name].reshape(-1) for name in self.names])
        return self.b @ theta + 0.5 * (theta - self.c) @ self.a @ (theta - self.c)


def normed() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), nn.LayerNorm(6), nn.ReLU(),
        nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2),
    ).double()  # fmt: skip
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model, torch.randn(3, 2, 4, 4).double()


@pytest.mark.parametrize("kind", ["weights", "channels"])
def test_what_is_zeroed_is_what_is_predicted(kind: str) -> None:
    """Of channels with their biases and norms too: on losses that a Taylor model of the order has exactly."""
    model, x = normed()
    units = fp.Weights() if kind == "weights" else fp.Channels(x)
    masks = select(score("magnitude", gather(model, None, (), needs=()), units), 0.5)
    biases_and_norms = {}
    for curved, coupled in ((False, False), (True, False), (True, True)):
        objective = Quadratic(model, curved=curved, coupled=coupled)
        signals = replace(gather(model, objective, [x]), curvature=objective.diagonal)
        change = loss_change(model, objective, [x], masks, signals=signals, full=True)
        assert change.measured == pytest.approx(measured_change(model, objective, [x], masks), rel=1e-12)
        assert change.first == predicted_change(signals, masks)
        assert change.second == predicted_change(signals, masks, order=2)
        assert change.predicted == change.full
        known = ("full", "second", "first")[: 3 if not curved else 2 if not coupled else 1]
        for name in ("first", "second", "full"):
            assert (getattr(change, name) == pytest.approx(change.measured, rel=1e-9)) == (name in known)
        bare = {n: g * (g.dim() > 1) for n, g in signals.gradient.items()}
        biases_and_norms[curved] = change.first - predicted_change(replace(signals, gradient=bare), masks)
    assert all((part != 0) == (kind == "channels") for part in biases_and_norms.values())


def test_the_remainder_of_order_one_has_slope_two_and_that_of_order_two_slope_three() -> None:
    """On a quadratic-plus-cubic loss with its exact diagonal, and of a network with the whole Hessian."""
    theta, a, b, c = torch.randn(4, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def cubic(at: torch.Tensor) -> torch.Tensor:
        return (0.5 * a * (at - c) ** 2 + b * at**3 / 6).sum()

    signals = Signals(
        params={"w": theta}, gradient={"w": a * (theta - c) + b * theta**2 / 2}, curvature={"w": a + b * theta}
    )
    keep = {"w": torch.arange(30) % 3 > 0}
    first, both = (predicted_change(signals, keep, order) for order in (1, 2))
    steps = [2.0**-k for k in range(3, 9)]
    one, two = [], []
    for h in steps:
        change = float(cubic(theta - h * theta * ~keep["w"]) - cubic(theta))
        one.append(abs(change - h * first))
        two.append(abs(change - h * first - h * h * (both - first)))
    assert log_log_slope(steps, one) == pytest.approx(2.0, abs=0.1)
    assert log_log_slope(steps, two) == pytest.approx(3.0, abs=0.01)

    model, batches = case()
    masks = select(score("random", gather(model, None, (), needs=()), seed=5), 0.5)
    known = loss_change(model, cross_entropy(), batches, masks, full=True)
    before = fp.signals.mean_loss(model, cross_entropy(), batches)
    missed = []
    for h in steps:
        change = fp.signals.mean_loss(shrunk(model, masks, h), cross_entropy(), batches) - before
        missed.append(abs(change - h * known.first - h * h * (known.full - known.first)))
    assert log_log_slope(steps, missed) == pytest.approx(3.0, abs=0.15)


def test_the_record_of_a_cut() -> None:
    model, batches = case()
    state = copy.deepcopy(model.state_dict())
    masks = select(score("magnitude", gather(model, None, (), needs=())), 0.1)
    plain = loss_change(model, cross_entropy(), iter(batches), masks)
    assert (plain.second, plain.full) == (None, None)
    assert plain.ratio == plain.first / plain.measured
    signals = gather(model, cross_entropy(), batches, needs=("gradient", "curvature"))
    full = loss_change(model, cross_entropy(), batches, masks, signals=signals, full=True)
    assert (full.first, full.measured) == pytest.approx((plain.first, plain.measured))
    assert full.ratio == pytest.approx(1.0, abs=0.05)
    assert abs(full.full - full.measured) < abs(full.first - full.measured)
    assert all(torch.equal(v, model.state_dict()[n]) for n, v in state.items())
    nothing = {name: torch.ones_like(mask) for name, mask in masks.items()}
    assert math.isnan(loss_change(model, cross_entropy(), batches, nothing).ratio)


def test_signals_and_masks_of_other_weights_are_refused() -> None:
    model, batches = case()
    before = gather(model, cross_entropy(), batches, needs=("hessian_gradient",))
    masks = select(score("magnitude", before), 0.3)
    assert masks.point == before.point
    with torch.no_grad():
        model[0].weight[0, 0] += 1e-12
    after = gather(model, cross_entropy(), batches, needs=("hessian_gradient",))
    for predicted in (predicted_change, predicted_gradient_norm_change):
        predicted(before, masks)
        with pytest.raises(ValueError, match=r"gathered at the weights that the masks were chosen at .*at_any_weights"):
            predicted(after, masks)
        assert predicted(after, masks.at_any_weights()) == pytest.approx(predicted(before, masks), rel=1e-6)
        predicted(after, dict(masks))
        predicted(replace(after, point=None), masks)
    with pytest.raises(ValueError, match=r"^loss_change\(signals=\) must be gathered at the weights .* of '0.weight'"):
        loss_change(model, cross_entropy(), batches, masks.at_any_weights(), signals=before)
    other = nn.Sequential(nn.Linear(5, 11), nn.Linear(11, 3)).double()
    with pytest.raises(ValueError, match=r"^predicted_change\(masks=\) must be made for this model"):
        predicted_change(gather(other, cross_entropy(), batches), masks)


def test_masks_that_were_put_together_are_of_no_one_set_of_weights() -> None:
    """What is asked of the result of pruning is asked at the weights before it, in one round as in several."""
    model, batches = case()
    signals = gather(model, cross_entropy(), batches)
    how = {"objective": cross_entropy(), "batches": batches, "sparsity": 0.5}
    for rounds in (1, 3):
        for units in (fp.Weights(), fp.Channels(batches[0][0])):
            schedule = fp.schedules.exponential(rounds)
            result = fp.prune(model, measure="lm", granularity=units, schedule=schedule, **how)
            assert result.masks.point is None
            assert isinstance(predicted_change(signals, result.masks), float)
    pruner = fp.Pruner(
        model, None, measure="qm", granularity=fp.Weights(), objective=cross_entropy(),
        schedule=fp.schedules.linear(3, sparsity=0.5),
    )  # fmt: skip
    while not pruner.done:
        cut = pruner.step(batches)
        assert cut.masks.point == cut.signals.point is not None
        assert isinstance(predicted_change(cut.signals, cut.masks, order=2), float)


def test_bad_input_is_refused() -> None:
    signals = Signals(params={"w": torch.ones(2)}, gradient={"w": torch.ones(2)})
    keep = {"w": torch.tensor([True, False])}
    with pytest.raises(ValueError, match="1 or 2"):
        predicted_change(signals, keep, order=3)
    with pytest.raises(ValueError, match="curvature"):
        predicted_change(signals, keep, order=2)
    with pytest.raises(ValueError, match="hessian_gradient"):
        predicted_gradient_norm_change(signals, keep)


def test_a_tied_weight_may_be_named_by_its_second_name():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    model[2].weight = model[0].weight
    data = [(torch.randn(6, 3).double(), torch.randint(3, (6,)))]
    signals = fp.gather(model, fp.objectives.cross_entropy(), data)
    keep = torch.rand(3, 3) > 0.5
    first, second = (fp.predicted_change(signals, {name: keep}) for name in ("0.weight", "2.weight"))
    assert first == second != 0
