"""Stages that are as large as the loss model allows."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.objectives import cross_entropy, mean_squared_error
from flowprune.prune.stages import Stage, largest
from tests.prune.networks import batches, convnet, train


def linear(inputs, rows=2):
    """A linear model of squared error: its loss is a quadratic with the curvature of the inputs' second moments."""
    torch.manual_seed(1)
    model = nn.Linear(inputs.shape[1], rows, bias=False).double()
    return model, [(inputs, torch.randn(len(inputs), rows).double())]


def pruned(model, data, objective=None, measure="qm", sparsity=0.8, **adapt):
    schedule = fp.schedules.adaptive(**{"max_stages": 40, **adapt})
    objective = objective or mean_squared_error()
    return fp.prune(model, measure=measure, sparsity=sparsity, objective=objective, batches=data, schedule=schedule)


def test_where_the_model_is_exact_one_stage_is_enough():
    model, data = linear(torch.linalg.qr(torch.randn(40, 20).double())[0])  # no weight interacts with another
    result = pruned(model, data, tolerance=1e-6, negligible=1e-6)
    (cut,) = result.cuts
    assert (cut.stage.removed, cut.stage.trials, cut.stage.within) == (32, 1, True)
    assert cut.stage.ratio == pytest.approx(1.0)


def test_a_tighter_tolerance_takes_more_stages_and_all_is_told():
    torch.manual_seed(0)
    model, data = linear(torch.randn(60, 30).double() @ torch.randn(30, 30).double())
    stages, before = [], fp.analysis.measured_change
    for tolerance in (0.5, 0.1, 0.02):
        result = pruned(model, data, tolerance=tolerance, negligible=0.05)
        stages.append(len(result.cuts))
        told = [cut.stage for cut in result.cuts]
        assert result.masks.total - result.masks.kept == sum(stage.removed for stage in told) == 48
        assert sum(stage.measured for stage in told) == pytest.approx(
            before(model, mean_squared_error(), data, result.masks)
        )
        for stage in told:
            agrees = abs(stage.predicted - stage.measured) <= tolerance * max(abs(stage.measured), 0.05 * stage.loss)
            assert stage.within == agrees
    assert stages == sorted(stages)
    assert stages[0] < stages[-1] <= 40


def test_the_whole_hessian_is_exact_for_a_quadratic():
    torch.manual_seed(0)
    model, data = linear(torch.randn(60, 30).double() @ torch.randn(30, 30).double())
    (cut,) = pruned(model, data, tolerance=1e-9, negligible=1e-9, full=True).cuts
    assert cut.stage.within
    assert cut.stage.predicted == pytest.approx(cut.stage.measured)


def test_what_never_fits_keeps_the_pace_and_says_so():
    torch.manual_seed(0)
    model, data = linear(torch.randn(60, 30).double() @ torch.randn(30, 30).double())
    result = pruned(model, data, measure="magnitude", max_stages=4, tolerance=1e-9, negligible=1e-9)
    targets = fp.schedules.exponential(4).targets(0.8)
    assert [cut.units_total - cut.units_after for cut in result.cuts] == pytest.approx(
        [target * 60 for target in targets], abs=1
    )
    assert not any(cut.stage.within for cut in result.cuts)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("granularity", ["weights", "channels"])
def test_networks_of_every_granularity(order, granularity):
    model, data = convnet(), batches()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(10):
        train(model, optimizer, data)
    units = fp.Weights() if granularity == "weights" else fp.Channels(example_inputs=data[0][0])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = fp.prune(
        model,
        measure="lm",
        sparsity=0.5,
        granularity=units,
        objective=cross_entropy(),
        batches=iter(data),
        schedule=fp.schedules.adaptive(6, order=order, tolerance=0.2),
    )
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert result.masks.sparsity == pytest.approx(0.5, abs=0.02)
    assert 1 <= len(result.cuts) <= 6
    told = sum(cut.stage.measured for cut in result.cuts)
    assert told == pytest.approx(fp.measured_change(model, cross_entropy(), data, result.masks), rel=1e-3, abs=1e-5)


def test_each_stage_cuts_besides_what_is_cut():
    model, data = convnet(), batches()
    schedule = fp.schedules.adaptive(5, 0.5, tolerance=0.01)
    pruner = fp.Pruner(
        model, None, measure="lm", granularity=fp.Weights(), objective=cross_entropy(), schedule=schedule
    )
    masks = []
    while not pruner.done:
        pruner.step(data)
        masks.append(pruner.masks)
    for earlier, later in pairwise(masks):
        assert all(not bool((later[name] & ~earlier[name]).any()) for name in later)
    assert masks[-1].total - masks[-1].kept == round(0.5 * masks[-1].total)
    assert pruner.step(data) is None


def test_the_largest_size_that_fits_is_found():
    for end in (1, 2, 37, 99, 100):
        for begin in (1, 10, 100):
            stage = largest(lambda k, end=end: told(k, k <= end), least=1, most=100, begin=begin, trials=30)
            assert end - max(1, end // 16) <= stage.removed <= end
            assert stage.within
    nothing = largest(lambda k: told(k, False), least=5, most=100, begin=100, trials=3)
    assert (nothing.removed, nothing.within, nothing.trials) == (5, False, 4)
    assert largest(lambda k: told(k, True), least=5, most=100, begin=20, trials=10).removed == 100


def told(size, within):
    return Stage(size, 1.0, 0.0, 0.0, 1, within)


def test_what_is_refused():
    model, data = convnet(), batches()
    how = {"granularity": fp.Weights(), "schedule": fp.schedules.adaptive(3, 0.5)}
    cases = [
        (lambda: fp.schedules.adaptive(tolerance=1.0), r"tolerance=\) must be in \(0, 1\)"),
        (lambda: fp.schedules.adaptive(order=3), "1 or 2"),
        (lambda: fp.schedules.adaptive(order=1, full=True), "2 with full=True"),
        (lambda: fp.schedules.adaptive(trials=0), ">= 1"),
        (lambda: fp.prune(model, measure="magnitude", **how, batches=data), "given, for stages to be measured"),
        (lambda: fp.prune(model, measure="force", **how, objective=cross_entropy(), batches=data), "cuts stay"),
        (
            lambda: fp.prune(
                model,
                measure="lm",
                budget=fp.Budget(parameters=0.5),
                objective=cross_entropy(),
                batches=data,
                schedule=fp.schedules.adaptive(3),
            ),
            "None with stages that are sized",
        ),
        (
            lambda: fp.Pruner(model, None, measure="lm", objective=cross_entropy(), when=fp.schedules.after(2), **how),
            "None with stages that are sized",
        ),
    ]
    for ask, said in cases:
        with pytest.raises(ValueError, match=said):
            ask()


def test_a_pruner_goes_on_where_it_was():
    model, data = convnet(), batches()
    how = {"measure": "lm", "granularity": fp.Weights(), "objective": cross_entropy()}
    schedule = fp.schedules.adaptive(5, 0.5, tolerance=0.01)
    pruner = fp.Pruner(model, None, schedule=schedule, **how)
    pruner.finish(data)
    again = fp.Pruner(model, None, schedule=schedule, **how)
    again.resume(pruner.masks, rounds=1)
    assert again.done


@pytest.mark.parametrize("measure", ["synflow", "ntk_sap", "prospr"])
def test_measures_of_another_objective_are_refused(measure):
    with pytest.raises(ValueError, match="a measure of the loss itself"):
        fp.prune(
            convnet(), measure=measure, sparsity=0.5, batches=batches(), schedule=fp.schedules.adaptive(3, order=1)
        )
