"""Blocks taken out in rounds, inside a training loop."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import flowprune as fp
from tests.structure.depth.residual import hugging_face, network, residual_mlp

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
Y = torch.tensor([0, 1, 2, 0, 1, 2])
OPTIMIZERS = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01),
}


def train(model, optimizer, steps=2):
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), Y).backward()
        optimizer.step()


def pruner_of(model, optimizer, *, rounds=2, sparsity=0.5, measure="magnitude", **rule):
    return fp.Pruner(
        model,
        optimizer,
        measure=measure,
        granularity=rule.pop("granularity", fp.Depth(example_inputs=X)),
        objective=fp.objectives.cross_entropy(),
        schedule=fp.schedules.build("linear", rounds=rounds, sparsity=sparsity),
        **rule,
    )


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_optimizer_drops_what_is_gone_and_keeps_the_rest(kind):
    model = residual_mlp(6)
    optimizer = OPTIMIZERS[kind](model.parameters())
    dense = copy.deepcopy(model)
    pruner = pruner_of(model, optimizer, rounds=3, measure="loss_preservation")
    train(model, optimizer)
    for left in (5, 4, 3):
        states = {id(p): {k: v.clone() for k, v in s.items()} for p, s in optimizer.state.items() if s}
        cut = pruner.step([(X, Y)])
        assert cut.units_after == left
        assert "same function" in cut.checks
        assert "live optimizer" in cut.checks
        held = [p for group in optimizer.param_groups for p in group["params"]]
        assert {id(p) for p in held} == {id(p) for p in model.parameters()} == {id(p) for p in optimizer.state}
        for param in held:
            before = states[id(param)]
            assert all(torch.equal(value, before[key]) for key, value in optimizer.state[param].items())
        train(model, optimizer)
    assert pruner.step([(X, Y)]) is None
    assert len(model) == 5
    assert pruner.masks[""].shape == (6,)
    assert int(pruner.masks[""].sum()) == 3
    again = fp.remove(dense, pruner.masks, example_inputs=X)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(X), model(X))


def test_a_container_may_lose_all_that_it_offers_in_an_early_round():
    model, x = network("resnet20"), torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        for param in (*model.stages[1].parameters(), *model.stages[2].parameters()):
            param.mul_(1e-3)  # these go first
    pruner = pruner_of(model, None, rounds=2, sparsity=6 / 7, granularity=fp.Depth(example_inputs=x))
    first = pruner.step()
    assert [len(stage) for stage in model.stages] == [3, 1, 2]
    assert first.units_after == 4
    assert pruner.step().units_after == 1
    assert [len(stage) for stage in model.stages] == [1, 1, 1]
    assert {n: int(m.sum()) for n, m in pruner.masks.items()} == {"stages.0": 1, "stages.1": 0, "stages.2": 0}


@pytest.mark.parametrize("scope", ["global", "local"])
def test_scopes(scope):
    model, x = network("resnet20"), torch.randn(4, 3, 8, 8)
    result = fp.prune(model, measure="magnitude", sparsity=0.5, granularity=fp.Depth(example_inputs=x), scope=scope)
    asked = 4 if scope == "global" else 2 + 1 + 1
    assert result.masks.total - result.masks.kept == asked
    assert result.cost.after.multiply_adds < result.cost.before.multiply_adds
    assert sum(len(stage) for stage in model.stages) == 9  # the model given is as it was


def test_skipped_blocks_stay_when_others_move_up():
    model = residual_mlp(6)
    first, last = model[1], model[6]
    with torch.no_grad():
        for param in (*first.parameters(), *last.parameters()):
            param.mul_(1e-3)  # these would go first
    pruner = pruner_of(model, None, rounds=2, sparsity=0.75, granularity=fp.Depth(X, skip=("1", "6")))
    pruner.step()
    pruner.step()
    assert [model[1], model[-2]] == [first, last]
    assert len(model) == 5


def test_rounds_on_a_language_model():
    model, inputs = hugging_face("llama")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pruner = pruner_of(model, optimizer, rounds=2, sparsity=0.5, granularity=fp.Depth(example_inputs=inputs))
    while pruner.step() is not None:
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
        optimizer.step()
    assert model.config.num_hidden_layers == len(model.model.layers) == 2
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == [0, 1]


def test_a_failed_rehearsal_leaves_the_model_whole():
    model = residual_mlp(4)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    pruner = pruner_of(model, optimizer, rounds=1)
    names, held = list(model.state_dict()), len(optimizer.param_groups[0]["params"])

    def four(module, args):
        assert len(module) == 6, "only with all blocks"

    handle = model.register_forward_pre_hook(four)  # a trace knows nothing of the user's hooks, a rehearsal does
    with pytest.raises(fp.PruningError, match="only with all blocks"):
        pruner.step()
    handle.remove()
    assert list(model.state_dict()) == names
    assert len(optimizer.param_groups[0]["params"]) == held


def test_a_run_goes_on_where_it_stopped():
    whole, x = residual_mlp(6), X
    straight = pruner_of(whole, None, rounds=3)
    straight.step()
    cut, masks = copy.deepcopy(whole), straight.masks
    later = pruner_of(cut, None, rounds=3)
    later.resume(masks, rounds=1)
    for pruner in (straight, later):
        pruner.step()
        pruner.step()
    assert torch.equal(straight.masks[""], later.masks[""])
    torch.testing.assert_close(whole(x), cut(x))


@pytest.mark.parametrize("unit", ["parameters", "flops", "bytes"])
def test_a_budget_counts_what_the_blocks_leave(unit):
    """What was forecast is what the smaller model has: checked after the cut, names and buffers included."""
    result = fp.prune(
        network("resnet20"),
        measure="magnitude",
        granularity=fp.Depth(example_inputs=torch.randn(2, 3, 8, 8)),
        budget=fp.Budget(**{unit: 0.6}),
    )
    assert "budget" in result.checks
    assert result.masks.kept < 7


def test_blocks_have_no_widths_to_round():
    scores = fp.score("magnitude", fp.gather(residual_mlp(4), None, (), needs=()), fp.Depth(example_inputs=X))
    with pytest.raises(ValueError, match=r"round_widths\(masks=\) must be of channels, which have widths"):
        fp.round_widths(fp.select(scores, 0.5), scores, multiple=2)
