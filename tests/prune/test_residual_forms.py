"""Pruning a residual network in its three forms, in rounds, with an optimizer that goes on training."""

import copy

import pytest
import torch

import flowprune as fp
from flowprune.masks import masks_of
from flowprune.prune import Pruner, carry_out_
from tests.prune.networks import batches, residual, train

OBJECTIVE = fp.objectives.cross_entropy()
WRITERS = ("stem.0.weight", "conv2.weight")


def pruner_of(model, optimizer=None, *, form="masked", measure="magnitude", rounds=3, sparsity=0.5, **rule):
    units = fp.Channels(example_inputs=batches(1)[0][0], residual=form)
    schedule = fp.schedules.rounds(rounds, sparsity=sparsity)
    return Pruner(
        model, optimizer, measure=measure, granularity=units, objective=OBJECTIVE, schedule=schedule, floor=0.0, **rule
    )


def optimizer_of(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-2)


@pytest.mark.parametrize("momentum", ["slice", "reset"])
@pytest.mark.parametrize("measure", ["magnitude", "loss_preservation", "gradient_norm_increase"])
def test_masked_filters_are_zero_stay_zero_and_stay_dead(measure, momentum):
    model = residual()
    optimizer = optimizer_of(model)
    pruner = pruner_of(model, optimizer, measure=measure, momentum=momentum)
    dead = {name: torch.zeros(8, dtype=torch.bool) for name in WRITERS}
    train(model, optimizer, batches())
    while (cut := pruner.step(batches())) is not None:
        assert cut.units_total == 28  # 8 of the stem, 12 inside, 8 of the second convolution
        assert cut.units_after == 28 - round(cut.target * 28)
        assert "zeros" in cut.checks
        train(model, optimizer, batches())
        for name in WRITERS:
            gone = ~pruner.masks[name]
            assert bool((dead[name] <= gone).all())  # dead stays dead
            dead[name] = gone
            weight = model.get_parameter(name)
            assert weight.shape[0] == 8
            assert int(weight[gone].count_nonzero()) == 0
    norm = model.norm2
    assert (
        int(norm.weight[dead["conv2.weight"]].count_nonzero())
        == int(norm.bias[dead["conv2.weight"]].count_nonzero())
        == 0
    )
    assert model.conv1.out_channels == int(pruner.masks["conv1.weight"].sum())


def test_masked_equals_the_masked_dense_model():
    model = residual()
    train(model, optimizer_of(model), batches())
    dense = copy.deepcopy(model)
    pruner = pruner_of(model, None)
    while pruner.step(batches()) is not None:
        pass
    x = batches(1)[0][0]
    torch.testing.assert_close(model.eval()(x), fp.apply(dense, pruner.masks).eval()(x))


def test_the_inner_form_leaves_the_stream_whole():
    model = residual()
    pruner = pruner_of(model, None, form="inner", rounds=1)
    assert pruner.step(batches()).units_total == 12
    assert model.conv1.out_channels == 6
    assert model.conv2.out_channels == 8


def test_the_coupled_form_removes_a_channel_everywhere():
    model = residual()
    pruner = pruner_of(model, None, form="coupled", rounds=1, scope="local")
    assert pruner.step(batches()).units_total == 20
    assert model.conv2.out_channels == model.stem[0].out_channels == model.head.in_features == 4


def test_masks_that_a_user_holds_stay_through_a_cut_of_branches():
    model = residual()
    own = torch.ones_like(model.head.weight, dtype=torch.bool)
    own[0, 0] = False
    fp.apply(model, {"head.weight": own})
    pruner_of(model, None, rounds=1).step(batches())
    assert not bool(masks_of(model)["head.weight"][0, 0])


def test_a_masked_filter_that_something_rewrites_is_found():
    model = residual()
    pruner = pruner_of(model, None, rounds=2)
    gone = None
    while gone is None or not bool(gone.any()):
        pruner.step(batches())
        gone = ~pruner.masks["conv2.weight"]
        if pruner.done:
            break
    with torch.no_grad():
        model.conv2.weight[gone] = 1.0
    with pytest.raises(fp.PruningError, match="Masked weights must be zero"):
        pruner.step(batches())


def test_the_cut_is_resumed_from_its_masks():
    model, again = residual(), residual()
    pruner = pruner_of(model, None)
    pruner.step(batches())
    carry_out_(again, pruner.masks)
    resumed = pruner_of(again, None)
    resumed.resume(pruner.masks, rounds=1)
    first, second = pruner.step(batches()), resumed.step(batches())
    assert all(torch.equal(first.masks[name], second.masks[name]) for name in first.masks)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
