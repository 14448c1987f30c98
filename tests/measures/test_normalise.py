"""Scores made comparable between layers: over what lives, so that holding at zero is the same as removing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.measures.normalise import normalised
from tests.prune.networks import batches, convnet, residual


def parameters(model: nn.Module) -> fp.Signals:
    return fp.gather(model, None, (), needs=())


@pytest.mark.parametrize("measure", ["magnitude", "loss_preservation"])
def test_in_every_round_the_live_weights_of_a_layer_have_a_mean_of_one(measure):
    model = convnet()
    pruner = fp.Pruner(
        model,
        None,
        measure=measure,
        granularity=fp.Weights(),
        objective=fp.objectives.cross_entropy(),
        schedule=fp.schedules.rounds(3, sparsity=0.9),
        normalise="mean",
    )
    alive = {name: torch.ones_like(param, dtype=torch.bool) for name, param in model.named_parameters()}
    for _ in range(3):
        cut = pruner.step(batches())
        means = [float(score[alive[name]].abs().mean()) for name, score in cut.scores.items()]
        assert means == pytest.approx([1.0] * len(means), rel=1e-5)
        alive = cut.masks


def test_in_every_round_the_live_filters_of_a_residual_branch_have_a_mean_of_one():
    x = batches(1)[0][0]
    pruner = fp.Pruner(
        residual(),
        None,
        measure="magnitude",
        granularity=fp.Channels(example_inputs=x, residual="masked"),
        objective=None,
        schedule=fp.schedules.rounds(3, sparsity=0.6),
        normalise="mean",
    )
    for number in range(3):
        cut = pruner.step()
        masked = [name for name in cut.scores if not cut.scores.layout[name].removable]
        for name in masked:
            before = cut.signals.masks.get(name)
            live = torch.ones(len(cut.scores[name]), dtype=torch.bool) if before is None else before.flatten(1).any(1)
            assert bool(live.all()) or number
            assert float(cut.scores[name][live].mean()) == pytest.approx(1.0)
    assert len(masked) == 2
    assert not cut.masks[masked[0]].all()


@pytest.mark.parametrize("how", ["mean", "fan_in"])
def test_scores_of_a_masked_model_are_those_of_the_model_without_its_dead_channels(how):
    """By |θg|: what reads a dead channel has no gradient, so that the raw scores are the same too."""
    model, data = convnet().double().eval(), [(x.double(), y) for x, y in batches()]
    x = data[0][0]
    masks = fp.select(fp.score("magnitude", parameters(model), fp.Channels(example_inputs=x)), 0.5, min_keep=1)
    small = fp.remove(model, masks, example_inputs=x)
    fp.apply(model, masks)

    def scores(of: nn.Module) -> fp.Scores:
        signals = fp.gather(of, fp.objectives.cross_entropy(), data)
        return fp.score("loss_preservation", signals, fp.Channels(example_inputs=x), normalise=how)

    held, removed = scores(model), scores(small)
    for name, value in removed.items():
        torch.testing.assert_close(held[name][masks[name]], value)
        assert not held[name][~masks[name]].any()


def test_the_fan_in_of_a_weight_counts_the_live_weights_of_its_row():
    scores, params = {"w": torch.tensor([[2.0, 0.0], [6.0, 2.0]])}, {"w": torch.ones(2, 2)}
    masks = {"w": torch.tensor([[True, False], [True, True]])}
    found = normalised(scores, "fan_in", params, None, masks)["w"]
    torch.testing.assert_close(found, torch.tensor([[2.0, 0.0], [6.0 / 2**0.5, 2.0 / 2**0.5]]))


def test_a_layer_that_is_dead_or_zero_stays_as_it_is():
    params = {"w": torch.zeros(2, 2)}
    dead = {"w": torch.zeros(2, 2, dtype=torch.bool)}
    for how in ("mean", "fan_in"):
        for masks in ({}, dead):
            assert not normalised({"w": torch.zeros(2, 2)}, how, params, None, masks)["w"].any()
