"""What is of another type than is asked for is refused in words, wherever it is passed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowprune as fp


def net():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


def units():
    return fp.Channels(example_inputs=torch.ones(2, 4))


def pruned(**more):
    return fp.prune(net(), **{"measure": "magnitude", "sparsity": 0.5, **more})


def pruner(model=None, optimizer=None, **more):
    given = {"measure": "magnitude", "granularity": fp.Weights(), "objective": None}
    return fp.Pruner(
        net() if model is None else model, optimizer, **{**given, "schedule": fp.schedules.one_shot(0.5), **more}
    )


@pytest.fixture(scope="module")
def result():
    return pruned(granularity=units())


@pytest.fixture
def folder(result, tmp_path):
    return fp.save(result, tmp_path / "plan")


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (
            lambda: pruned(granularity="channels"),
            r"fp.Depth(example_inputs=x); got 'channels'. Pass fp.Channels(example_inputs=x).",
        ),
        (lambda: pruned(granularity="nm:2:4"), "Pass fp.NM(2, 4)."),
        (
            lambda: pruned(granularity="filters"),
            "prune(granularity=) must be fp.Weights(), fp.NM(2, 4), fp.Blocks(4, 1), fp.Ch",
        ),
        (lambda: pruned(granularity=fp.Weights), "got 'Weights'. Pass fp.Weights()."),
        (lambda: pruned(granularity=3), "or fp.Depth(example_inputs=x); got 3."),
        (lambda: pruned(measure=3), "prune(measure=) must be a name in fp.MEASURES, or a Measure; got 3"),
        (lambda: pruned(schedule="rounds"), "prune(schedule=) must be a Schedule, such as fp.schedules.rounds(5"),
        (lambda: pruned(schedule=0), "prune(schedule=) must be a Schedule"),
        (lambda: pruned(schedule=fp.schedules.rounds), "got 'rounds'"),
        (lambda: pruned(mode="foo"), "prune(mode=) has no 'foo'. Known: eval, train."),
        (
            lambda: fp.prune(nn.Linear, measure="magnitude", sparsity=0.5),
            "prune(model=) must be an nn.Module; got 'Linear'",
        ),
        (lambda: pruner(schedule=0.5), "Pruner(schedule=) must be a Schedule"),
        (lambda: pruner(granularity="weights"), "Pruner(granularity=) must be fp.Weights(), "),
        (lambda: pruner(measure=None), "Pruner(measure=) must be a name"),
        (lambda: pruner(mode="foo"), "Pruner(mode=) has no 'foo'"),
        (lambda: pruner(nn.Linear), "Pruner(model=) must be an nn.Module; got 'Linear'"),
        (lambda: pruner(optimizer="adam"), "Pruner(optimizer=) must be a torch.optim.Optimizer; got 'adam'"),
        (lambda: pruner(optimizer=torch.optim.Adam), "must be a torch.optim.Optimizer; got 'Adam'"),
        (
            lambda: fp.measures.score("magnitude", fp.signals.gather(net(), None, (), needs=()), "weights"),
            "score(granularity=) must be fp.Weights(), ",
        ),
        (
            lambda: fp.structure.latency(net(), torch.ones(1, 4), warmup=-5),
            "latency(warmup=) must be a whole number >= 0; got -5",
        ),
        (
            lambda: fp.structure.latency(net(), torch.ones(1, 4), repeats="3"),
            "latency(repeats=) must be a whole number >= 1",
        ),
        (lambda: fp.apply(nn.Linear, {}), "apply(model=) must be an nn.Module"),
        (lambda: fp.apply(net(), [1]), "apply(masks=) must be a mapping of names to boolean tensors; got 'list'"),
        (lambda: fp.remove(net(), 3, example_inputs=torch.ones(1, 4)), "remove(masks=) must be a mapping"),
    ],
)
def test_what_is_of_another_type_is_refused_in_words(act, said):
    with pytest.raises(ValueError, match=r".") as error:
        act()
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (
            fp.structure.latency,
            "latency(model=) must be an nn.Module; got 'PruneResult'. Pass its .model.",
        ),
        (lambda r, x: fp.cost_report(net(), r, x), "Pass its .model."),
        (
            lambda r, x: fp.recalibrate(r, [x]),
            "recalibrate(model=) must be an nn.Module; got 'PruneResult'. Pass its .",
        ),
        (lambda r, x: fp.apply(net(), r), "apply(masks=) must be a mapping of names to boolean tensors; got 'Prune"),
        (lambda r, x: fp.apply(net(), r), "Pass its .masks."),
        (lambda r, x: fp.remove(net(), r, example_inputs=x), "remove(masks=)"),
        (lambda r, x: fp.prune(r, measure="magnitude", sparsity=0.5), "prune(model=) must be an nn.Module"),
    ],
)
def test_a_result_in_the_place_of_a_model_says_what_to_pass(result, act, said):
    with pytest.raises(ValueError, match=r".") as error:
        act(result, torch.ones(2, 4))
    assert said in str(error.value)


def test_a_result_that_is_exported_says_what_to_pass(result, tmp_path):
    with pytest.raises(ValueError, match=r"export_program\(model=\) .* got 'PruneResult'\. Pass its \.model\."):
        fp.export_program(result, torch.ones(2, 4), tmp_path / "out.pt2")


def test_what_reads_a_plan_takes_what_fp_prune_returned(result):
    """As ``fp.save`` does."""
    dense, x = net(), torch.ones(2, 4)
    small = fp.replay(result, dense, example_inputs=x)
    assert small[0].weight.shape == result.model[0].weight.shape
    assert torch.equal(small[0].weight, fp.replay(fp.plan.plan_of(result.model), dense)[0].weight)


def test_carry_takes_what_fp_prune_returned():
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    shadow, state = {name: p.detach().clone() for name, p in model.named_parameters()}, optimizer.state_dict()
    result = fp.prune(model, measure="magnitude", sparsity=0.5, granularity=units())
    expected = fp.carry_state(result.model, state)
    assert fp.carry_state(result, state)["param_groups"] == expected["param_groups"]
    fp.carry(result, optimizer=optimizer, before=model, ema=shadow)
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in result.model.parameters()}
    assert shadow["0.weight"].shape == result.model[0].weight.shape


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (
            lambda r, at: fp.load(str(at), net),
            "load(model_factory=) must be the dense model, or a function that builds it",
        ),
        (lambda r, at: fp.load(at, net), "The arguments are swapped: fp.load(model_factory, path)."),
        (lambda r, at: fp.load("x", at), "or a function that builds it; got 'x'"),
        (lambda r, at: fp.load(lambda: 3, at), "load(model_factory=) must be an nn.Module; got 'int'"),
        (lambda r, at: fp.load(net, net()), "load(path=) must be the folder that fp.save wrote; got 'Sequential'"),
        (
            lambda r, at: fp.replay(net(), fp.plan.plan_of(r.model)),
            "The arguments are swapped: fp.replay(plan, model).",
        ),
        (lambda r, at: fp.replay(net(), at), "The arguments are swapped: fp.replay(plan, model)."),
        (lambda r, at: fp.replay(net(), net()), "Pass fp.plan.plan_of(model)"),
        (lambda r, at: fp.replay(at, r), "replay(model=) must be an nn.Module; got 'PruneResult'. Pass its .model."),
        (
            lambda r, at: fp.carry(r, optimizer="adam", before=net()),
            "carry(optimizer=) must be a torch.optim.Optimizer; ",
        ),
        (lambda r, at: fp.carry(3), "carry(cut=) must be a pruned model, what fp.prune returned, a plan or its folder"),
        (lambda r, at: fp.carry(r, optimizer=torch.optim.SGD(net().parameters()), before=3), "carry(before=) must be"),
        (lambda r, at: fp.carry_state(r, 3), "carry_state(state=) must be what optimizer.state_dict() gave; got 'int'"),
        (lambda r, at: fp.carry_state(3, {}), "carry_state(cut=) must be a pruned model"),
    ],
)
def test_plans_and_models_in_the_wrong_places(result, folder, act, said):
    with pytest.raises(ValueError, match=r".") as error:
        act(result, folder)
    assert said in str(error.value)
