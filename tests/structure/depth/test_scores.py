"""Blocks as units of scores and masks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.objectives import OBJECTIVES
from tests.structure.depth.residual import Mlp, network, residual_mlp, signals_of

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
BATCH = (X, torch.tensor([0, 1, 2, 0, 1, 2]))


def test_a_score_is_the_measure_over_all_parameters_of_the_block():
    model = residual_mlp()
    scores = fp.score("magnitude", signals_of(model, X), fp.Depth())
    expected = [sum(p.square().sum() for p in model[i].parameters()).sqrt() for i in range(1, 5)]
    torch.testing.assert_close(scores[""], torch.stack(expected).detach())
    signals = fp.gather(model, fp.objectives.cross_entropy(), [BATCH], needs=("gradient",))
    taylor = fp.score("loss_preservation", signals, fp.Depth(), reduce="sum")
    expected = [
        sum((p.detach() * signals.gradient[f"{i}.{n}"]).sum() for n, p in model[i].named_parameters())
        for i in range(1, 5)
    ]
    torch.testing.assert_close(taylor[""], torch.stack(expected))


def test_the_scale_of_norms_is_the_score_where_there_are_norms():
    model, x = network("resnet20"), torch.randn(2, 3, 8, 8)
    block = model.stages[1][2]
    with torch.no_grad():
        block.norm1.weight.fill_(0.5)
        block.norm2.weight.fill_(-0.25)
    scores = fp.score("bn_scale", signals_of(model, x), fp.Depth())
    assert scores["stages.1"].tolist() == [64.0, 32 * 0.75]


def test_blocks_without_norms_have_no_scale_to_read():
    class Plain(Mlp):
        def __init__(self):
            super().__init__()
            self.norm = nn.Identity()

    with pytest.raises(fp.PruningError, match="must find a norm"):
        fp.score("bn_scale", signals_of(residual_mlp(2, Plain), X), fp.Depth())
    mixed = nn.Sequential(*residual_mlp(2), *residual_mlp(1, Plain)[1:2], nn.Linear(3, 3))
    mixed[3], mixed[4] = mixed[4], nn.Linear(6, 3)
    assert trace_sizes(mixed) == {"": 3}
    with pytest.raises(fp.PruningError, match="must find a norm"):
        fp.score("bn_scale", signals_of(mixed, X), fp.Depth())


def trace_sizes(model):
    return {name: group.size for name, group in fp.structure.trace_depth(model, X).groups.items()}


@pytest.mark.parametrize("measure", list(fp.MEASURES))
def test_every_measure_scores_blocks(measure):
    model, chosen = residual_mlp().double(), fp.MEASURES[measure]
    objective = OBJECTIVES[chosen.objective or "cross_entropy"]()
    needs = [need for need in chosen.needs if need != "curvature"]
    signals = fp.gather(model, objective, [(X.double(), BATCH[1])], needs=needs)
    if "curvature" in chosen.needs:
        signals = replace(signals, curvature={name: p.square() for name, p in signals.params.items()})
    options = {"example_inputs": X.double()} if measure == "phew" else {}
    scores = fp.score(measure, signals, fp.Depth(example_inputs=X.double()), **options)
    assert scores[""].shape == (4,)
    masks = fp.select(scores, 0.5)
    assert int(masks[""].sum()) == 2
    fp.remove(model, masks, example_inputs=X.double())


def test_one_block_of_a_container_stays_unless_another_one_does():
    x = torch.randn(2, 3, 8, 8)
    scores = fp.score("magnitude", signals_of(network("resnet20"), x), fp.Depth())
    masks = fp.select(scores, 6 / 7)  # stages.1 and stages.2 keep the block that changes the width
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"stages.0": 1, "stages.1": 0, "stages.2": 0}
    fp.remove(network("resnet20"), masks, example_inputs=x)
    with pytest.raises(fp.PruningError, match="must be able to cut 4 of 4"):
        fp.select(fp.score("magnitude", signals_of(residual_mlp(), X), fp.Depth()), 0.99)
    with pytest.raises(fp.PruningError, match="at least one unit in every layer"):
        fp.select(fp.score("magnitude", signals_of(residual_mlp(), X), fp.Depth()), 0.99, min_keep=0)


def test_what_is_skipped_is_not_offered_and_not_counted():
    model = residual_mlp()
    layout = fp.Depth(X, skip=("1", "4")).layout(signals_of(model))
    assert layout[""].modules == ("2", "3")
    assert layout[""].least == 0
    masks = fp.Masks({"": torch.tensor([False, False])}, layout=layout)
    assert len(fp.remove(model, masks, example_inputs=X)) == 4
    resnet, x = network("resnet20"), torch.randn(2, 3, 8, 8)
    assert list(fp.Depth(x, skip=("stages.0", "*.1.?")).layout(signals_of(resnet))) == ["stages.2"]
    with pytest.raises(ValueError, match="There are"):
        fp.Depth(X, skip=("layers.*",)).layout(signals_of(model))
    with pytest.raises(ValueError, match="tuple of patterns"):
        fp.Depth(X, skip="1")


def test_masked_blocks_stay_at_zero():
    model = residual_mlp()
    masks = fp.select(fp.score("magnitude", signals_of(model, X), fp.Depth()), 0.5)
    fp.apply(model, masks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        nn.functional.cross_entropy(model(X), BATCH[1]).backward()
        optimizer.step()
    fp.check_zeros(model)
    dead = [i for i, stays in enumerate(masks[""], 1) if not stays]
    assert dead
    assert all(not bool(p.any()) for i in dead for p in model[i].parameters())
    small = fp.remove(model, masks, example_inputs=X)
    torch.testing.assert_close(small(X), model(X))
    fp.check_zeros(small)


def test_signals_without_a_model_say_so():
    with pytest.raises(ValueError, match="given signals of a model"):
        fp.Depth(X).layout(fp.Signals(params={"w": torch.ones(2, 2)}))
    with pytest.raises(ValueError, match=r"Depth\(example_inputs=\)"):
        fp.Depth().layout(signals_of(residual_mlp()))
