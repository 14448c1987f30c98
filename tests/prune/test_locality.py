"""Loss models and the size of their steps: LM-1 to LM-8 of Laurent et al. 2020, as far as no training is needed."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.func import functional_call

import flowprune as fp
from flowprune.objectives import cross_entropy, mean_squared_error
from flowprune.schedules import counts, exponential, linear
from tests.prune.networks import batches, convnet

SPARSITY = 0.956
TARGETS = (
    0.19997, 0.35996, 0.48795, 0.59035, 0.67227, 0.73781, 0.79024, 0.83219, 0.86574, 0.89259, 0.91407, 0.93125, 0.945,
    0.956,
)  # fmt: skip


def quadratic(n: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A, not diagonal; theta, no optimum; and the optimum."""
    generator = torch.Generator().manual_seed(0)
    a, theta, best = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((n, n), (n,), (n,)))
    return a @ a.T, theta, best


def loss(a: torch.Tensor, best: torch.Tensor, at: torch.Tensor) -> float:
    return float(0.5 * (at - best) @ a @ (at - best))


def signals_of(a: torch.Tensor, best: torch.Tensor, at: torch.Tensor) -> fp.Signals:
    return fp.Signals(params={"w": at}, gradient={"w": a @ (at - best)}, curvature={"w": a.diagonal().clone()})


def without(n: int, index: int) -> dict[str, torch.Tensor]:
    keep = torch.ones(n, dtype=torch.bool)
    keep[index] = False
    return {"w": keep}


def regression(rows: int = 1) -> tuple[nn.Module, list]:
    """A linear model of squared error, whose loss is a quadratic that is not diagonal; its GGN is the Hessian."""
    torch.manual_seed(2)
    model = nn.Linear(12, rows, bias=False).double()
    x = torch.randn(40, 12).double() @ torch.randn(12, 12).double()
    return model, [(x[:25], torch.randn(25, rows).double()), (x[25:], torch.randn(15, rows).double())]


def test_lm_1_of_one_weight_qm_is_exact_and_the_others_where_what_they_leave_out_is_zero() -> None:
    a, theta, best = quadratic()
    for at in (theta, 3 * theta, best):  # at the optimum g = 0
        signals = signals_of(a, best, at)
        scores = {name: fp.score(name, signals)["w"] for name in ("lm", "obd", "qm")}
        for k in range(len(at)):
            keep = without(len(at), k)
            change = loss(a, best, at * keep["w"]) - loss(a, best, at)
            assert fp.predicted_change(signals, keep, order=2) == pytest.approx(change, rel=1e-10, abs=1e-12)
            assert float(scores["qm"][k]) == pytest.approx(abs(change), rel=1e-10, abs=1e-12)
            assert (float(scores["obd"][k]) == pytest.approx(change, rel=1e-6)) == (at is best)
            assert float(scores["lm"][k]) != pytest.approx(abs(change), rel=1e-6)  # A_kk is not 0
    flat = a.clone()
    flat[3, 3] = 0.0
    keep = without(len(theta), 3)
    change = loss(flat, best, theta * keep["w"]) - loss(flat, best, theta)
    assert float(fp.score("lm", signals_of(flat, best, theta))["w"][3]) == pytest.approx(abs(change), rel=1e-10)


def test_lm_1_of_a_network_by_the_library_alone() -> None:
    model, data = regression()
    signals = fp.gather(model, mean_squared_error(), data, needs=("gradient", "curvature"))
    for k in range(12):
        keep = {"weight": (torch.arange(12) != k)[None]}
        change = fp.measured_change(model, mean_squared_error(), data, keep)
        assert fp.predicted_change(signals, keep, order=2) == pytest.approx(change, rel=1e-9)


@pytest.mark.parametrize("measure", ["qm", "lm", "obd", "magnitude"])
def test_lm_3_the_predictions_of_one_weight_at_a_time_add_up_to_the_change(measure: str) -> None:
    """Whatever the order in which weights go: the terms between two of them are met by the later one's gradient."""
    model, data = regression(2)
    objective, before, removed = mean_squared_error(), copy.deepcopy(model), 19
    pruner = fp.Pruner(
        model, None, measure=measure, granularity=fp.Weights(), objective=objective,
        schedule=linear(removed, sparsity=removed / 24), observe=("gradient", "curvature"), floor=0.0,
    )  # fmt: skip
    predicted = 0.0
    while not pruner.done:
        cut = pruner.step(data)
        assert cut.units_before - cut.units_after == 1
        predicted += fp.predicted_change(cut.signals, cut.masks, order=2)
    start, end = (fp.signals.mean_loss(each, objective, data) for each in (before, model))
    assert predicted == pytest.approx(end - start, rel=1e-10)
    at_once = fp.gather(before, objective, data, needs=("gradient", "curvature"))
    assert fp.predicted_change(at_once, pruner.masks, order=2) != pytest.approx(end - start, rel=1e-3)
    whole = fp.analysis.loss_change(before, objective, data, pruner.masks, full=True)
    assert whole.full == pytest.approx(end - start, rel=1e-10)


def test_lm_3_by_hand() -> None:
    """The same as a loop that uses the library's selection and prediction, and nothing else of it."""
    a, theta, best = quadratic()
    at, kept, predicted = theta.clone(), None, 0.0
    for stage in range(1, 7):
        signals = signals_of(a, best, at)
        masks = fp.select(fp.score("qm", signals), stage / len(theta), within=kept)
        predicted += fp.predicted_change(signals, masks, order=2)
        at, kept = at * masks["w"], masks
    assert predicted == pytest.approx(loss(a, best, at) - loss(a, best, theta), rel=1e-10)


def test_lm_4_the_sparsities_of_fourteen_stages() -> None:
    assert [round(target, 5) for target in exponential(14).targets(SPARSITY)] == list(TARGETS)
    assert exponential(14).targets(SPARSITY)[-1] == SPARSITY


def test_lm_4_what_goes_of_vgg_11_in_each_stage() -> None:
    signals = fp.gather(fp.models.build("vgg11_plain", num_classes=10), None, (), needs=(), copies=False)
    n = sum(signals.params[name].numel() for name in fp.Weights().names(signals))
    assert n == 9_747_136
    cut = [later - earlier for earlier, later in pairwise((0, *counts(exponential(14).targets(SPARSITY), n)))]
    assert (cut[0], cut[1], cut[-1], len(cut)) == (1_949_180, 1_559_393, 107_201, 14)
    assert sum(cut) == round(SPARSITY * n)
    assert n - sum(cut) == 428_874
    even = [later - earlier for earlier, later in pairwise((0, *counts(linear(14).targets(SPARSITY), n)))]
    assert all(abs(each - 665_590) <= 1 for each in even)
    assert sum(even) == sum(cut)


def staged(measure: str, schedule: fp.schedules.Schedule, curvature: str | None = None) -> tuple[nn.Module, list]:
    model = convnet()
    pruner = fp.Pruner(
        model, None, measure=measure, granularity=fp.Weights(), objective=cross_entropy(), schedule=schedule,
        floor=0.0, seed=3, curvature=curvature,
    )  # fmt: skip
    masks = []
    while not pruner.done:
        pruner.step(batches())
        masks.append(pruner.masks)
    return model, masks


@pytest.mark.parametrize("make", [exponential, linear])
@pytest.mark.parametrize("measure", ["lm", "qm", "obd"])
def test_lm_7_stages_are_nested_exact_and_of_weights_alone(measure: str, make: object) -> None:
    model, masks = staged(measure, make(5, sparsity=0.7))
    fresh = dict(convnet().named_parameters())
    for stage, target in zip(masks, make(5).targets(0.7), strict=True):
        assert stage.total - stage.kept == round(target * stage.total)
        assert all(fresh[name].dim() > 1 for name in stage)
    for earlier, later in pairwise(masks):
        assert not any(bool((later[name] & ~earlier[name]).any()) for name in later)
    for name, parameter in model.named_parameters():
        keep = masks[-1][name] if name in masks[-1] else torch.ones_like(parameter, dtype=torch.bool)
        assert torch.equal(parameter, fresh[name] * keep)
    _, again = staged(measure, make(5, sparsity=0.7))
    assert all(torch.equal(again[-1][name], mask) for name, mask in masks[-1].items())


@pytest.mark.parametrize("curvature", ["fisher_mc", "hutchinson"])
def test_lm_7_draws_are_repeated_with_the_seed(curvature: str) -> None:
    one, two = (staged("qm", exponential(3, sparsity=0.7), curvature)[1][-1] for _ in range(2))
    assert all(torch.equal(two[name], mask) for name, mask in one.items())


def test_a_curvature_that_nothing_reads_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Pruner\(curvature=\) must be left out with 'lm', for which none is gathered"
    ):
        staged("lm", exponential(3, sparsity=0.7), "hutchinson")


def test_lm_8_lm_is_the_slope_in_the_mask() -> None:
    model, data = convnet().double().eval(), [(x.double(), y) for x, y in batches()]
    scores = fp.score("lm", fp.gather(model, cross_entropy(), data))
    x, y = (torch.cat([batch[i] for batch in data]) for i in (0, 1))
    params = {name: parameter.detach() for name, parameter in model.named_parameters()}
    masks = {name: torch.ones_like(params[name], requires_grad=True) for name in scores}
    held = {**params, **{name: params[name] * mask for name, mask in masks.items()}}
    slopes = torch.autograd.grad(
        nn.functional.cross_entropy(functional_call(model, held, (x,)), y), list(masks.values())
    )
    for name, slope in zip(masks, slopes, strict=True):
        torch.testing.assert_close(scores[name], slope.abs(), rtol=1e-9, atol=1e-15)


def test_the_adaptive_schedule_needs_fewer_stages_where_the_model_is_better() -> None:
    """One stage with the whole quadratic in its diagonal; more with terms between weights; most by the gradient."""
    stages = {}
    for name, order in (("diagonal", 2), ("coupled", 2), ("coupled", 1)):
        torch.manual_seed(0)
        x = torch.linalg.qr(torch.randn(40, 20).double())[0] * torch.linspace(1, 3, 20).double()
        x = x if name == "diagonal" else x @ (torch.eye(20) + 0.3 * torch.randn(20, 20)).double()
        model = nn.Linear(20, 2, bias=False).double()
        data = [(x, torch.randn(40, 2).double())]
        result = fp.prune(
            model, measure="qm", sparsity=0.8, objective=mean_squared_error(), batches=data, floor=0.0,
            schedule=fp.schedules.adaptive(32, tolerance=0.05, order=order, negligible=1e-3),
        )  # fmt: skip
        told = [cut.stage for cut in result.cuts]
        stages[name, order] = len(told)
        assert sum(stage.removed for stage in told) == 32 == result.masks.total - result.masks.kept
        change = fp.measured_change(model, mean_squared_error(), data, result.masks)
        assert sum(stage.measured for stage in told) == pytest.approx(change)
    assert stages["diagonal", 2] == 1 < stages["coupled", 2] <= stages["coupled", 1] <= 32
