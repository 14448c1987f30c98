"""Budgets: the nearest that there is, said as it is, or refused before anything is touched."""

from __future__ import annotations

import copy
from unittest import mock

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.masks import apportion, pools, remove_lowest
from flowprune.prune.nearest import nearest
from flowprune.structure import Forecast, Latency, cut_, measure_cost
from flowprune.structure.example import Example
from tests.prune.networks import batches, convnet, residual, transformer

X = batches(1)[0][0]


def scored(model: nn.Module, **options) -> fp.Scores:
    return fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Channels(X, **options))


def cost_of(model: nn.Module, masks, unit: str) -> float:
    """What the cut model really costs."""
    if unit == "channels":
        return masks.kept
    small = copy.deepcopy(model)
    cut_(small, masks.layout, masks)
    cost = measure_cost(small, X if unit == "flops" else None)
    return {"parameters": cost.parameters, "flops": cost.multiply_adds, "bytes": cost.bytes}[unit]


def every_cut(model: nn.Module, scores: fp.Scores, unit: str, scope, keep: int = 1) -> list[tuple[float, int]]:
    """Cost and k of every number of removed units, each really cut."""
    found = pools(scores, scope, 0.0)
    most = [sum(scores[n].numel() - min(keep, scores[n].numel()) for n in pool.names) for pool in found]
    result = []
    for k in range(sum(most) + 1):
        masks: dict = {}
        for pool, count in zip(found, apportion(k, [p.total for p in found], most=most), strict=True):
            ranked = {n: scores[n] for n in pool.names}
            masks |= remove_lowest(ranked, count, min_keep=dict.fromkeys(ranked, keep))
        whole = fp.Masks({n: masks[n] for n in scores}, layout=scores.layout, fingerprint=scores.fingerprint)
        result.append((cost_of(model, whole, unit), k))
    return result


@pytest.mark.parametrize("make", [convnet, residual])
@pytest.mark.parametrize("scope", ["global", "local", "isomorphic"])
@pytest.mark.parametrize("unit", ["parameters", "flops", "bytes", "channels"])
def test_no_number_of_units_comes_nearer(make, unit: str, scope: str) -> None:
    model = make().eval()
    scores = scored(model)
    every = every_cut(model, scores, unit, scope)
    dense, least = every[0][0], every[-1][0]
    assert [cost for cost, _ in every] == sorted((cost for cost, _ in every), reverse=True)
    for asked in [int(least + (dense - least) * i / 7) for i in range(8)]:
        found = fp.solve(scores, fp.Budget(**{unit: asked}), model, example_inputs=X, scope=scope)
        cost, k = min(every, key=lambda pair: (abs(pair[0] - asked), pair[0] > asked, pair[1]))
        assert (found.achieved, found.removed) == (cost, k)
        assert found.achieved == cost_of(model, found.masks, unit)
        assert found.below == max((c for c, _ in every if c <= asked), default=None)
        assert found.above == min((c for c, _ in every if c > asked), default=None)


def test_a_bisection_is_a_search_through_all() -> None:
    g = torch.Generator().manual_seed(0)
    for size in (1, 2, 5, 40):
        values = torch.randint(0, 12, (size,), generator=g).sort(descending=True).values.tolist()
        for asked in [v / 2 for v in range(-2, 26)]:
            found = nearest(values.__getitem__, 0, size - 1, asked)
            best = min(range(size), key=lambda k: (abs(values[k] - asked), values[k] > asked, k))
            assert (found.at, found.value) == (best, values[best])


def test_a_budget_needs_few_looks() -> None:
    asked: list[int] = []
    nearest(lambda k: asked.append(k) or 10**6 - k, 0, 10**6, 123_456.4)
    assert len(asked) <= 44
    assert len(asked) == len(set(asked))


def test_half_of_the_parameters_is_half_of_the_parameters() -> None:
    """Half of the channels is a quarter of the parameters, which other tools call a half."""
    model = convnet()
    result = fp.prune(
        model, measure="magnitude", budget=fp.Budget(parameters=0.5), granularity=fp.Channels(X), batches=batches()
    )
    dense, left = (sum(p.numel() for p in m.parameters()) for m in (model, result.model))
    assert result.budget is not None
    assert (result.budget.dense, result.budget.achieved) == (dense, left)
    assert result.budget.miss == left - dense / 2
    assert abs(left / dense - 0.5) < 0.05
    assert "budget" in result.checks
    assert torch.equal(result.budget.masks["0.weight"], result.masks["0.weight"])
    assert str(result.budget).startswith("asked 50 % of parameters, achieved ")


@pytest.mark.parametrize("unit", ["parameters", "flops", "bytes", "channels"])
@pytest.mark.parametrize("scope", ["global", "local", {"0.weight": 0.25}])
def test_several_rounds_end_at_the_budget(unit: str, scope) -> None:
    model = convnet()
    result = fp.prune(
        model,
        measure="loss_preservation",
        budget=fp.Budget(**{unit: 0.6}),
        granularity=fp.Channels(X),
        objective=fp.objectives.cross_entropy(),
        batches=batches(),
        schedule=fp.schedules.exponential(rounds=4),
        scope=scope,
    )
    found, cost = result.budget, measure_cost(result.model, X[:4])
    assert found is not None
    real = {"parameters": cost.parameters, "flops": cost.multiply_adds, "bytes": cost.bytes}
    assert found.achieved == real.get(unit, result.masks.kept)
    assert abs(found.miss) <= abs((found.above or found.achieved) - (found.below or found.achieved))
    assert abs(found.miss) / found.dense < 0.06
    gone = [cut.units_total - cut.units_after for cut in result.cuts]
    assert gone == sorted(gone)
    assert len(gone) == 4
    assert gone[-1] == found.removed == result.masks.total - result.masks.kept
    if isinstance(scope, dict):
        assert result.masks.per_layer()["0.weight"].kept == 6


def test_a_pruner_meets_a_budget_in_a_training_loop() -> None:
    model = residual()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    pruner = fp.Pruner(
        model,
        optimizer,
        measure="loss_preservation",
        granularity=fp.Channels(X),
        objective=fp.objectives.cross_entropy(),
        schedule=fp.schedules.rounds(3),
        budget=fp.Budget(flops=0.4),
    )
    dense = measure_cost(model, X).multiply_adds
    while not pruner.done:
        pruner.step(batches())
    assert pruner.solution is not None
    assert pruner.solution.dense == dense
    assert pruner.solution.achieved == measure_cost(model, X).multiply_adds
    assert abs(pruner.solution.miss) / dense < 0.1
    assert pruner.step(batches()) is None


def test_weights_that_stay_in_place_are_not_counted_as_gone() -> None:
    model = residual()
    result = fp.prune(
        model,
        measure="magnitude",
        budget=fp.Budget(parameters=0.7),
        granularity=fp.Channels(X, residual="masked"),
        schedule=fp.schedules.linear(2),
    )
    assert result.budget is not None
    assert result.budget.achieved == sum(p.numel() for p in result.model.parameters())
    assert result.model.stem[0].out_channels == 8


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (
            fp.Budget(parameters=0.01),
            r"at least 1.46429 % \(41 parameters\): floors and protected layers keep .* got 1 %",
        ),
        (fp.Budget(parameters=10**9), r"at most [\d,]+ parameters: the model has no more"),
        (fp.Budget(channels=2), "at least 3 units"),
        (fp.Budget(flops=10), "at least"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_can(budget, said) -> None:
    model = convnet()
    before = copy.deepcopy(model.state_dict())
    scores = scored(model)
    with pytest.raises(fp.PruningError, match=said) as error:
        fp.solve(scores, budget, model, example_inputs=X)
    assert "solve(budget=)" in str(error.value)
    with pytest.raises(fp.PruningError, match=r"^prune\(budget=\)"):
        fp.prune(model, measure="magnitude", budget=budget, granularity=fp.Channels(X))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_nearest_that_is_told_can_be_asked_for() -> None:
    model = convnet()
    scores = scored(model)
    with pytest.raises(fp.PruningError) as error:
        fp.solve(scores, fp.Budget(parameters=10), model, protect=("3.weight",), min_keep=2)
    least = int(str(error.value).split("at least ")[1].split(" ")[0].replace(",", ""))
    found = fp.solve(scores, fp.Budget(parameters=least), model, protect=("3.weight",), min_keep=2)
    assert (found.achieved, found.miss) == (least, 0)
    assert [count.kept for count in found.masks.per_layer().values()] == [2, 12, 2]


def test_everything_may_stay() -> None:
    found = fp.solve(scored(convnet()), fp.Budget(parameters=1), convnet())
    assert (found.removed, found.miss, found.above) == (0, 0, None)
    assert str(found) == "asked 100 % of parameters, achieved 100 % (miss +0 %)"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "exactly one of parameters, flops, bytes, latency_ms, channels"),
        ({"parameters": 0.5, "flops": 0.5}, "exactly one"),
        ({"parameters": 0}, "fraction in"),
        ({"parameters": 1.5}, "whole number above 1"),
        ({"bytes": -3}, "fraction in"),
        ({"channels": True}, "fraction in"),
        ({"flops": float("nan")}, "fraction in"),
        ({"latency_ms": 0}, "milliseconds above 0"),
        ({"latency_ms": 1, "batch": 0}, r"Budget\(batch=\) must be a size >= 1"),
        ({"parameters": 0.5, "batch": 8}, "beside latency_ms="),
        ({"parameters": "half"}, "fraction in"),
    ],
)
def test_a_budget_that_is_none_is_refused(given, said) -> None:
    with pytest.raises(ValueError, match=said):
        fp.Budget(**given)


@pytest.mark.parametrize("text", ["parameters", "parameters=", "params=0.5", "parameters=half", "=0.5"])
def test_a_word_that_is_no_budget_is_refused(text) -> None:
    with pytest.raises(ValueError, match=r"Budget.parse\(text=\) must be UNIT=NUMBER"):
        fp.Budget.parse(text)


def test_what_a_budget_needs_is_asked_for() -> None:
    model = convnet()
    scores = scored(model)
    half = fp.Budget(parameters=0.5)
    for call, said in (
        (lambda: fp.solve(scores, 0.5, model), "solve\\(budget=\\) must be a Budget"),
        (lambda: fp.solve(scores, half), "solve\\(model=\\)"),
        (lambda: fp.solve(scores, half, residual()), "the model that was scored"),
        (lambda: fp.solve(scores, fp.Budget(flops=0.5), model), "solve\\(example_inputs=\\)"),
        (lambda: fp.solve(scores, half, model, protect=("nothing*",)), "has no 'nothing"),
        (lambda: fp.solve(scores, half, model, scope={"*": 0.5}), "leaves a layer without"),
        (lambda: fp.prune(model, measure="magnitude", budget=half), "Budget\\(channels=\\) for single weights"),
        (lambda: fp.prune(model, measure="magnitude", budget=half, sparsity=0.5), "Name one target"),
        (lambda: fp.prune(model, measure="magnitude"), "given, or budget="),
        (lambda: fp.prune(model, measure="magnitude", budget=half, schedule=fp.schedules.one_shot(0.5)), "one place"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


@pytest.mark.parametrize("unit", ["parameters", "flops", "bytes", "channels"])
def test_heads_of_attention_meet_a_budget(unit: str) -> None:
    """The number of heads that a module keeps is a member of their group, and no tensor."""
    model, x = transformer()
    options = {"measure": "magnitude", "granularity": fp.Channels(x), "scope": "isomorphic"}
    result = fp.prune(model, budget=fp.Budget(**{unit: 0.5}), schedule=fp.schedules.linear(2), **options)
    found, cost = result.budget, measure_cost(result.model, x)
    real = {"parameters": cost.parameters, "flops": cost.multiply_adds, "bytes": cost.bytes}
    assert found is not None
    assert found.achieved == real.get(unit, result.masks.kept)
    assert abs(found.miss) / found.dense < 0.04
    counts = [layer.kept for name, layer in result.masks.per_layer().items() if "query" in name]
    assert [block.num_heads for block in result.model[:2]] == counts != [6, 6]


@pytest.mark.parametrize("units", [fp.Weights(), fp.Blocks(4, 1)], ids=["weights", "blocks"])
def test_what_is_masked_has_a_budget_of_units_alone(units) -> None:
    result = fp.prune(convnet(), measure="magnitude", budget=fp.Budget(channels=0.4), granularity=units)
    assert result.masks.kept == round(0.4 * result.masks.total)
    scores = fp.score("magnitude", fp.gather(convnet(), None, (), needs=()), units)
    found = fp.solve(scores, fp.Budget(channels=0.4))
    assert all(torch.equal(mask, result.masks[name]) for name, mask in found.masks.items())
    for budget in (fp.Budget(parameters=0.5), fp.Budget(flops=0.5), fp.Budget(bytes=0.5), fp.Budget(latency_ms=1)):
        with pytest.raises(ValueError, match=r"Budget\(channels=\) for (single weights|4x1 blocks)"):
            fp.prune(convnet(), measure="magnitude", budget=budget, granularity=units, batches=batches())
        with pytest.raises(ValueError, match=r"solve\(budget=\) must be Budget\(channels=\)"):
            fp.solve(scores, budget, convnet(), example_inputs=X)


def test_a_pattern_that_has_its_own_sparsity_has_no_budget() -> None:
    units, model, half = fp.NM(2, 4, skip=("0.weight",)), convnet(), fp.Budget(channels=0.5)
    with pytest.raises(ValueError, match=r"^prune\(budget=\) must be None with nm:2:4, which leaves 0\.5 of"):
        fp.prune(model, measure="magnitude", budget=half, granularity=units)
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), units)
    with pytest.raises(ValueError, match=r"solve\(scores=\) must be of units of which any number may go; got '2:4"):
        fp.solve(scores, half)


def test_single_weights_have_a_budget_of_units() -> None:
    result = fp.prune(convnet(), measure="magnitude", budget=fp.Budget(channels=1000))
    assert result.masks.kept == 1000
    assert result.budget is not None
    assert result.budget.miss == 0


def test_a_scope_with_its_own_sparsities_needs_no_other() -> None:
    options = {"measure": "magnitude", "granularity": fp.Channels(X), "batches": batches()}
    scope = {"0.weight": 0.25, "3.weight": 0.5, "8.weight": 0.0}
    result = fp.prune(convnet(), scope=scope, schedule=fp.schedules.linear(2), **options)
    assert [count.kept for count in result.masks.per_layer().values()] == [6, 6, 16]
    with pytest.raises(ValueError, match="None where scope= names"):
        fp.prune(convnet(), scope=scope, sparsity=0.5, **options)
    with pytest.raises(ValueError, match="given for the layers that fit no pattern"):
        fp.prune(convnet(), scope={"0.weight": 0.25}, **options)
    rest = fp.prune(convnet(), scope={"0.weight": 0.25}, sparsity=0.5, **options)
    assert [rest.masks.per_layer()["0.weight"].kept, rest.masks.kept] == [6, 6 + 14]


def timed(noise: float = 0.0):
    """A machine whose milliseconds are thousands of parameters."""

    def latency(model: nn.Module, inputs: object, **_: object) -> Latency:
        batch = len(Example.of(inputs).tensors[0])
        return Latency(sum(p.numel() for p in model.parameters()) / 1000, noise, batch, 1, 20)

    return mock.patch("flowprune.structure.latency_table.latency", side_effect=latency)


def test_milliseconds_are_measured_and_each_width_once() -> None:
    model = convnet()
    scores = scored(model)
    every = every_cut(model, scores, "parameters", "global")
    with timed() as clock:
        found = fp.solve(scores, fp.Budget(latency_ms=1.3), model, example_inputs=X)
    assert found.achieved == min((cost / 1000 for cost, _ in every), key=lambda ms: abs(ms - 1.3))
    assert clock.call_count <= 14
    assert {call.args[1].shape for call in clock.call_args_list} == {X.shape}  # at the batch that was given
    assert str(found).startswith("asked 1.3 ms, achieved 1.293 ms (miss -0.007 ms")
    assert (found.noise_ms, found.batch) == (0, len(X))
    assert str(found).endswith(f"at batch {len(X)}")
    with timed(), pytest.raises(fp.PruningError, match=r"at most 2\.\d+ ms: the model has no more"):
        fp.solve(scores, fp.Budget(latency_ms=100), model, example_inputs=X)


def test_milliseconds_at_another_batch() -> None:
    model = convnet()
    with timed():
        found = fp.solve(scored(model), fp.Budget(latency_ms=1.3, batch=9), model, example_inputs=X)
        units = fp.Channels(example_inputs=X)
        cut = fp.prune(model, measure="magnitude", budget=fp.Budget(latency_ms=1.3, batch=9), granularity=units)
    assert found.batch == 9
    assert str(cut.budget).endswith("at batch 9")
    assert [each.speed.batch for each in cut.cost.measured] == [9]


def test_a_search_ends_in_the_noise() -> None:
    model = convnet()
    with timed() as exact:
        fp.solve(scored(model), fp.Budget(latency_ms=1.3), model, example_inputs=X)
    with timed(noise=0.5) as noisy:
        found = fp.solve(scored(model), fp.Budget(latency_ms=1.3), model, example_inputs=X)
    assert noisy.call_count < exact.call_count
    assert abs(found.miss) <= 0.5
    assert "noise 0.5 ms" in str(found)


def test_a_formula_that_does_not_hold_is_not_believed() -> None:
    model = convnet()
    scores = scored(model)
    right = fp.solve(scores, fp.Budget(flops=0.5), model, example_inputs=X)
    wrong = lambda self, masks: self.counted(masks) + 7 * sum(not bool(m.all()) for m in masks.values())  # noqa: E731
    with mock.patch.object(Forecast, "multiply_adds", wrong):
        found = fp.solve(scores, fp.Budget(flops=0.5), model, example_inputs=X)
    assert (found.achieved, found.removed) == (right.achieved, right.removed)


def test_nothing_is_touched_by_solving() -> None:
    model = convnet().train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    scores = scored(model)
    for unit in ("parameters", "flops", "bytes", "channels"):
        fp.solve(scores, fp.Budget(**{unit: 0.5}), model, example_inputs=X)
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
