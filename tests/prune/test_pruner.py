"""The Pruner inside a loop: exact counts, the same object, an optimizer that follows."""

import copy

import pytest
import torch
from torch import nn

import flowprune as fp
from tests.prune.networks import batches, convnet, residual, train

MEASURES = ("magnitude", "loss_preservation", "biased_loss", "gradient_norm_increase", "gradient_norm_preservation")
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
}


def pruner_of(model, optimizer, measure="magnitude", granularity=None, rounds=4, sparsity=0.6, **options):
    return fp.Pruner(
        model,
        optimizer,
        measure=measure,
        granularity=granularity or fp.Channels(example_inputs=batches(1)[0][0]),
        objective=fp.objectives.cross_entropy(),
        schedule=fp.schedules.rounds(rounds, sparsity=sparsity),
        **options,
    )


@pytest.mark.parametrize("make", [convnet, residual])
@pytest.mark.parametrize("measure", MEASURES)
def test_channels_go_exactly_as_asked_and_training_goes_on(make, measure: str) -> None:
    model = make()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    pruner = pruner_of(model, optimizer, measure)
    data = batches()
    for target in pruner.targets:
        train(model, optimizer, data)
        cut = pruner.step(data)
        assert cut.units_total - cut.units_after == round(target * cut.units_total)
        assert set(cut.checks) == {"same function", "live optimizer", "exact sparsity"}
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert held == {id(p) for p in model.parameters()}
    assert pruner.done
    assert pruner.step(data) is None
    train(model, optimizer, data)
    assert pruner.masks.sparsity == pytest.approx(0.6, abs=0.5 / pruner.masks.total)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_state_is_the_slice_of_what_it_was(name: str) -> None:
    model = convnet()
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, batches())
    before = {n: copy.deepcopy(optimizer.state[p]) for n, p in model.named_parameters()}
    cut = pruner_of(model, optimizer, rounds=1, sparsity=0.5).step(batches())
    keep = cut.masks["3.weight"].nonzero().squeeze(1)
    inputs = cut.masks["0.weight"].nonzero().squeeze(1)
    for key, value in optimizer.state[model[3].weight].items():
        old = before["3.weight"][key]
        assert torch.equal(value, old[keep][:, inputs] if value is not None and value.dim() else old)
    assert set(optimizer.state) == set(model.parameters())


def test_momentum_can_be_reset_as_the_paper_does() -> None:
    model = convnet()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    train(model, optimizer, batches())
    pruner_of(model, optimizer, rounds=1, momentum="reset").step(batches())
    assert not optimizer.state[model[0].weight]


def test_same_object_same_names_and_the_user_keeps_his_references() -> None:
    model = residual()
    names, block = [n for n, _ in model.named_parameters()], model.conv1
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    loss = model(batches(1)[0][0]).sum()  # a live graph over the old parameters
    pruner_of(model, optimizer, rounds=1).step(batches())
    assert [n for n, _ in model.named_parameters()] == names
    assert model.conv1 is block
    del loss
    train(model, optimizer, batches())


@pytest.mark.parametrize("measure", MEASURES)
def test_weights_are_masked_exactly_nested_and_stay_zero(measure: str) -> None:
    model = convnet()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    pruner = pruner_of(model, optimizer, measure, fp.Weights(), sparsity=0.9, options={})
    previous = None
    for target in pruner.targets:
        train(model, optimizer, batches())
        cut = pruner.step(batches())
        assert cut.units_total - cut.units_after == round(target * cut.units_total)
        assert {"exact sparsity", "zeros"} <= set(cut.checks)
        if previous is not None:
            assert all(not (cut.masks[n] & ~previous[n]).any() for n in previous)
        previous = cut.masks
    train(model, optimizer, batches())
    assert pruner.step(batches()) is None
    assert all(torch.count_nonzero(model.get_parameter(n)[~m]) == 0 for n, m in previous.items())


def test_regrown_weights_are_found_at_the_next_call() -> None:
    model = convnet()
    pruner = pruner_of(model, None, granularity=fp.Weights())
    pruner.step(batches())
    with torch.no_grad():
        model[3].weight.fill_(1.0)
    with pytest.raises(fp.PruningError, match=r"Masked weights must be zero.*'3\.weight'"):
        pruner.step(batches())


def test_weights_that_regrow_after_the_first_step_stop_the_second() -> None:
    model = convnet()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    pruner_of(model, optimizer, granularity=fp.Weights()).step(batches())
    train(model, optimizer, batches(1))
    with torch.no_grad():
        model[3].weight.add_(1.0)  # something else writes, as an average of weights would
    with pytest.raises(fp.PruningError, match="Masked weights must be zero"):
        train(model, optimizer, batches(1))
    train(model, optimizer, batches(1))


def test_cuts_that_follow_each_other_are_watched_together() -> None:
    model = convnet()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    pruner = pruner_of(model, optimizer, granularity=fp.Weights(), rounds=4)
    for _ in range(3):
        pruner.step(batches())
    train(model, optimizer, batches(1))
    pruner.step(batches())
    train(model, optimizer, batches(1))
    with torch.no_grad():
        model[3].weight.add_(1.0)
    with pytest.raises(fp.PruningError, match="Masked weights must be zero"):
        train(model, optimizer, batches(1))
    train(model, optimizer, batches(1))


def test_cumulative_masks_rebuild_the_same_small_model_from_the_dense_one() -> None:
    dense = residual()
    model = copy.deepcopy(dense)
    x = batches(1)[0][0]
    pruner = pruner_of(model, None, "loss_preservation")
    while not pruner.done:
        pruner.step(batches())
    small = fp.remove(dense, pruner.masks, example_inputs=x)
    assert {n: p.shape for n, p in small.named_parameters()} == {n: p.shape for n, p in model.named_parameters()}
    torch.testing.assert_close(small.eval()(x), model.eval()(x))


def test_an_optimizer_of_another_model_is_refused_and_one_of_a_larger_system_follows() -> None:
    model, other = convnet(), convnet()
    with pytest.raises(ValueError, match="holds none of its parameters"):
        pruner_of(model, OPTIMIZERS["sgd"](other.parameters()))
    optimizer = OPTIMIZERS["sgd"]([*model.parameters(), *other.parameters()])
    cut = pruner_of(model, optimizer, rounds=1).step(batches())
    assert "live optimizer" in cut.checks


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"measure": "magnitud"}, KeyError, "Did you mean 'magnitude'"),
        ({"scope": "layer"}, KeyError, "global, isomorphic, local"),
        ({"momentum": "keep"}, KeyError, "reset, slice"),
        ({"floor": 1.5}, ValueError, r"\[0, 1\)"),
    ],
)
def test_bad_arguments_are_told_before_anything_runs(change: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        pruner_of(convnet(), None, **change)


def test_a_frozen_model_needs_a_measure_without_gradient() -> None:
    model = convnet().requires_grad_(False)
    with pytest.raises(ValueError, match=r"froz|requires_grad"):
        pruner_of(model, None, "loss_preservation").step(batches())
    assert pruner_of(model, None, "magnitude").step(batches()).units_after > 0


def test_empty_batches_and_a_bad_loss_leave_the_model_alone() -> None:
    model = convnet()
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="at least one batch"):
        pruner_of(model, None, "loss_preservation").step(iter(()))
    nan = [(torch.full((4, 1, 6, 6), float("nan")), torch.zeros(4, dtype=torch.long))]
    with pytest.raises(ValueError, match="finite"):
        pruner_of(model, None, "loss_preservation").step(nan)
    assert all(torch.equal(v, model.state_dict()[n]) for n, v in state.items())


def test_local_scope_counts_each_layer() -> None:
    cut = pruner_of(convnet(), None, rounds=1, sparsity=0.5, scope="local").step(batches())
    assert {n: c.kept for n, c in cut.masks.per_layer().items()} == {"0.weight": 4, "3.weight": 6, "8.weight": 8}


def test_floors_are_of_the_original_sizes_and_reported() -> None:
    """Q4."""
    model = convnet()
    with torch.no_grad():
        model[0].weight.mul_(1e-3)
    pruner = pruner_of(model, None, sparsity=0.6, rounds=2, floor=0.3)
    cuts = [pruner.step(batches()) for _ in range(2)]
    assert model[0].out_channels == 3  # floor(0.3 * 8) + 1
    assert "0.weight" in cuts[-1].floor_hits


def test_linear_layers_alone_work_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 20), nn.GELU(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 3))
    data = [(torch.randn(8, 6), torch.randint(0, 3, (8,)))]
    pruner_of(model, None, "loss_preservation", fp.Channels(), rounds=2, sparsity=0.5).step(data)
    assert model(data[0][0]).shape == (8, 3)


def test_an_optimizer_whose_parameters_died_between_two_rounds_is_told() -> None:
    model = convnet()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    pruner = pruner_of(model, optimizer, rounds=2)
    pruner.step(batches())
    model.load_state_dict({n: v.clone() for n, v in model.state_dict().items()}, assign=True)
    with pytest.raises(fp.PruningError, match="optimizer"):
        pruner.step(batches())


def test_a_measure_that_needs_signals_needs_an_objective() -> None:
    with pytest.raises(ValueError, match=r"Pruner\(objective=\) must be given"):
        fp.Pruner(convnet(), None, measure="fisher", granularity=fp.Weights(), objective=None,
                  schedule=fp.schedules.rounds(1, sparsity=0.5))  # fmt: skip


@pytest.mark.parametrize("granularity", [fp.Channels(example_inputs=batches(1)[0][0]), fp.Weights()])
def test_more_rounds_than_units_are_refused_before_anything_is_cut(granularity) -> None:
    model = convnet()
    before = copy.deepcopy(model.state_dict())
    pruner = pruner_of(model, None, granularity=granularity, rounds=5000, sparsity=0.5)
    with pytest.raises(ValueError, match=r"units are to go; got '5000 rounds'"):
        pruner.step(batches())
    assert all(torch.equal(a, before[name]) for name, a in model.state_dict().items())


def test_a_pattern_that_protects_nothing_is_refused() -> None:
    for granularity in (None, fp.Weights()):
        model = convnet()
        pruner = pruner_of(model, None, rounds=1, protect=("no.such*",), granularity=granularity)
        with pytest.raises(ValueError, match="has no 'no"):
            pruner.step(batches())
        assert model[0].out_channels == 8
