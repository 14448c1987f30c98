"""A pruner that waits for an event: nothing changes until it fires, then it cuts exactly as asked."""

import copy
import json
import math

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.masks import remove_lowest
from flowprune.prune.waiting import look_at, movement
from flowprune.schedules import after, all_of, any_of, at_latest, early_bird, early_crop, stable_structure
from tests.prune.networks import batches, convnet, residual, train

UNITS = {"channels": lambda: fp.Channels(example_inputs=batches(1)[0][0]), "weights": fp.Weights}
EVENTS = {
    "early_bird": lambda: early_bird(0.2, window=2),
    "early_crop": early_crop,
    "stable_structure": lambda: at_latest(stable_structure(window=2), looks=9),
    "after": lambda: after(looks=3),
    "all_of": lambda: all_of(early_crop(), early_bird(0.3, window=2), after(looks=3)),
    "any_of": lambda: any_of(early_bird(0.01, window=3), early_crop()),
}


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)


def waiting_pruner(model, optimizer=None, when=None, units="channels", sparsity=0.6, **options):
    return fp.Pruner(
        model,
        optimizer,
        measure=options.pop("measure", "loss_preservation"),
        granularity=UNITS[units](),
        objective=fp.objectives.cross_entropy(),
        schedule=fp.schedules.rounds(options.pop("rounds", 2), sparsity=sparsity),
        when=when,
        **options,
    )


def snapshot(model, optimizer):
    return {
        "state": {n: v.clone() for n, v in model.state_dict().items()},
        "grads": {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()},
        "modes": [m.training for m in model.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()],
        "objects": [id(p) for p in model.parameters()],
        "rng": torch.get_rng_state(),
        "momenta": {i: s["momentum_buffer"].clone() for i, s in enumerate(optimizer.state.values())},
    }


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("name", EVENTS)
def test_nothing_changes_while_it_waits_and_then_the_cut_is_exact(name: str, units: str) -> None:
    model = convnet()
    optimizer, data = sgd(model), batches()
    pruner = waiting_pruner(model, optimizer, EVENTS[name](), units)
    cut = None
    while cut is None:
        train(model, optimizer, data)
        before = snapshot(model, optimizer)
        cut = pruner.step(data)
        if cut is None:
            assert pruner.waiting
            assert not pruner.done
            assert pruner.masks is None
            assert same(before, snapshot(model, optimizer))
        assert pruner.event.looks < 15
    assert pruner.event.fired
    assert not pruner.waiting
    assert pruner.event.looks >= 3
    assert (cut.round, cut.units_total - cut.units_after) == (1, round(pruner.targets[0] * cut.units_total))
    train(model, optimizer, data)
    last = pruner.step(data)
    assert last.units_total - last.units_after == round(0.6 * last.units_total)
    assert pruner.done
    assert pruner.step(data) is None
    assert pruner.event.looks == len(pruner.event.readings)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("name", EVENTS)
def test_a_run_resumed_while_it_waits_fires_at_the_same_look_and_cuts_the_same(name: str, units: str) -> None:
    model, data = residual(), batches()
    optimizer = sgd(model)
    pruner = waiting_pruner(model, optimizer, EVENTS[name](), units)
    train(model, optimizer, data)
    pruner.step(data)
    train(model, optimizer, data)
    pruner.step(data)
    assert pruner.waiting

    twin = residual()
    twin.load_state_dict(model.state_dict())
    other = sgd(twin)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    resumed = waiting_pruner(twin, other, EVENTS[name](), units)
    resumed.resume(None, rounds=0, event=json.loads(json.dumps(pruner.event.state())))
    resumed.anchor = None if pruner.anchor is None else {n: w.clone() for n, w in pruner.anchor.items()}
    assert resumed.event == pruner.event

    for _ in range(12):
        for net, way, prune in ((model, optimizer, pruner), (twin, other, resumed)):
            way.param_groups[0]["lr"] *= 0.7  # so that the weights settle
            train(net, way, data)
            prune.step(data)
        assert resumed.event == pruner.event
    assert pruner.done
    assert same(dict(pruner.masks), dict(resumed.masks))
    assert same(dict(model.state_dict()), dict(twin.state_dict()))


def test_the_mask_it_looks_at_is_the_one_of_the_final_sparsity_under_the_same_rule() -> None:
    model, data = convnet(), batches()
    pruner = waiting_pruner(
        model, None, early_bird(window=1), measure="magnitude", sparsity=0.4, floor=0.3, protect=("3.*",)
    )
    pruner.step(data)
    signals = fp.gather(model, None, (), needs=())
    scores = fp.score("magnitude", signals, UNITS["channels"]())
    keep = {n: int(0.3 * s.numel()) + 1 for n, s in scores.items()}
    total = sum(s.numel() for s in scores.values())
    expected = remove_lowest(dict(scores), round(0.4 * total), min_keep=keep, protected=["3.weight"])
    state = pruner.event.state()["memory"]
    assert state["units"] == total
    assert bytes.fromhex(state["masks"][0]) == look_at(1, fp.Masks(expected), None).bits
    assert expected["3.weight"].all()


def test_the_cut_uses_the_scores_of_the_look_and_batches_are_read_once() -> None:
    model, reads = convnet(), []

    def once(data):
        for batch in data:
            reads.append(1)
            yield batch

    pruner = waiting_pruner(model, None, early_bird(window=1), observe=("hessian_gradient",))
    assert pruner.step(once(batches())) is None
    cut = pruner.step(once(batches()))
    assert len(reads) == 6
    assert cut.signals.hessian_gradient is not None
    expected = {n: (cut.signals.params[n] * g).abs().flatten(1).sum(1) for n, g in cut.signals.gradient.items()
                if n in cut.scores}  # fmt: skip
    for name, score in cut.scores.items():
        torch.testing.assert_close(score, expected[name], rtol=1e-4, atol=1e-7)


def test_early_crop_waits_without_scores_or_batches() -> None:
    model, data = convnet(), batches()
    optimizer = sgd(model)
    pruner = waiting_pruner(model, optimizer, early_crop())

    def untouched():
        raise AssertionError("a look at how far the weights moved reads no batch")
        yield

    while pruner.waiting:
        train(model, optimizer, data)
        cut = pruner.step(untouched() if pruner.event.looks < 2 else data)
    assert cut.round == 1
    first, second = (r.threshold for r in pruner.event.readings[1:3])
    assert first == second == pytest.approx(pruner.event.readings[1].value * 0.3)  # channels: 0.9 - 0.6


def test_movement_is_the_relative_distance_from_the_first_look() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with torch.no_grad():
        for param in model.parameters():
            param.fill_(1.0)
    pruner = waiting_pruner(model, None, early_crop(), units="weights")
    pruner.step()
    assert set(pruner.anchor) == {"0.weight", "1.weight"}
    with torch.no_grad():
        model[0].weight[0, 0] = 2.0
        model[0].bias.fill_(9.0)  # biases are not weights
    pruner.step()
    assert pruner.event.readings[-1].value == pytest.approx(math.sqrt(1 / 6))
    assert pruner.event.readings[-1].threshold == pytest.approx(math.sqrt(1 / 6) * 0.4)
    assert torch.equal(pruner.anchor["0.weight"], torch.ones(2, 2))


def test_a_measure_without_signals_waits_and_cuts_without_batches() -> None:
    pruner = waiting_pruner(convnet(), None, early_bird(window=1), measure="magnitude", units="weights", rounds=1)
    assert pruner.step() is None
    assert pruner.step().units_after > 0


def test_the_copy_of_the_first_weights_is_let_go_once_it_is_read_no_more() -> None:
    model, data = convnet(), batches()
    optimizer = sgd(model)
    pruner = waiting_pruner(model, optimizer, any_of(early_crop(), after(looks=2)))
    assert pruner.anchor is None
    for looks in (1, 2):
        train(model, optimizer, data)
        pruner.step(data)
        assert (pruner.anchor is None) == (looks == 2)


def test_without_an_event_nothing_is_waited_for() -> None:
    pruner = waiting_pruner(convnet(), None)
    assert (pruner.waiting, pruner.event, pruner.anchor) == (False, None, None)
    assert pruner.step(batches()).round == 1


def test_a_resumed_pruner_that_has_cut_waits_no_more() -> None:
    model, data = convnet(), batches()
    pruner = waiting_pruner(model, None, after(looks=1), units="weights")
    pruner.step(data)
    again = waiting_pruner(copy.deepcopy(model), None, after(looks=1), units="weights")
    again.resume(pruner.masks, rounds=1, event=pruner.event.state())
    assert not again.waiting
    assert again.event.fired
    short = waiting_pruner(copy.deepcopy(model), None, after(looks=1), units="weights")
    short.resume(pruner.masks, rounds=1)
    assert not short.waiting
    assert short.step(data).round == again.step(data).round == 2


def test_what_cannot_be_waited_for_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"early_crop\(sparsity=\) must be below 0\.9 for channels"):
        waiting_pruner(convnet(), None, early_crop(), sparsity=0.9)
    with pytest.raises(ValueError, match=r"that of the pruning, 0\.6; got 0\.5"):
        waiting_pruner(convnet(), None, early_crop(0.5))
    with pytest.raises(ValueError, match=r"Pruner\(when=\) must be an event, such as"):
        waiting_pruner(convnet(), None, "early_bird")
    seen = after(looks=3).see(fp.schedules.Look(1))
    with pytest.raises(ValueError, match="seen nothing yet"):
        waiting_pruner(convnet(), None, seen)


def test_a_resume_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    pruner = waiting_pruner(convnet(), None, after(looks=3))
    state = after(looks=3).see(fp.schedules.Look(1)).state()
    cases = [
        (lambda: pruner.resume(None, rounds=1), "given after 1 cuts"),
        (lambda: pruner.resume(None, rounds=3), "between 0 and"),
        (lambda: pruner.resume(fp.Masks({}), rounds=1, event=state), "one that fired"),
        (lambda: pruner.resume(None, rounds=0, event=after(looks=4).state()), "event the run began with"),
        (lambda: pruner.resume(None, rounds=0, event=after(looks=3)), r"Pass event\.state\(\)"),
        (lambda: waiting_pruner(convnet(), None).resume(None, rounds=0, event=state), r"Pass Pruner\(when=\)"),
    ]
    for act, message in cases:
        with pytest.raises(ValueError, match=message):
            act()
    assert (pruner.event.looks, pruner.waiting) == (0, True)


def test_an_anchor_is_restored_only_where_it_belongs() -> None:
    model = convnet()
    pruner = waiting_pruner(model, None, early_crop())
    weights = {n: p.detach().clone() for n, p in model.named_parameters() if p.dim() > 1}
    with pytest.raises(ValueError, match=r"Call Pruner\.resume\(event=\) before it"):
        pruner.anchor = weights
    with pytest.raises(ValueError, match=r"Pass Pruner\(when=\)"):
        waiting_pruner(convnet(), None).anchor = weights
    with pytest.raises(ValueError, match="seen how far the weights moved"):
        waiting_pruner(convnet(), None, after(looks=2)).anchor = weights
    pruner.step()
    state = pruner.event.state()
    resumed = waiting_pruner(model, None, early_crop())
    resumed.resume(None, rounds=0, event=state)
    with pytest.raises(fp.PruningError, match=r"Pruner\.anchor must be restored"):
        resumed.step()
    with pytest.raises(ValueError, match="of this model's weights"):
        resumed.anchor = {"0.weight": torch.ones(1, 1)}
    resumed.anchor = weights
    weights["0.weight"].zero_()  # a copy is kept
    assert torch.equal(resumed.anchor["0.weight"], model[0].weight)


def test_a_model_that_was_cut_or_never_moved_while_it_waits_is_told() -> None:
    model = convnet()
    pruner = waiting_pruner(model, None, early_crop())
    pruner.step()
    with pytest.raises(fp.PruningError, match="Train between two looks"):
        pruner.step()
    waiting_pruner(model, None, rounds=1).step(batches())
    with pytest.raises(fp.PruningError, match="Let nothing else cut the model"):
        pruner.step()
    with pytest.raises(fp.PruningError, match="not all zero"):
        movement({"w": torch.ones(2)}, {"w": torch.zeros(2)})


def test_a_look_at_a_diverged_model_is_an_error() -> None:
    model = convnet()
    pruner = waiting_pruner(model, None, early_crop())
    pruner.step()
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="did it diverge"):
        pruner.step()


def test_a_layer_that_the_final_sparsity_would_empty_is_told_at_the_first_look() -> None:
    model = convnet()
    with torch.no_grad():
        model[0].weight.mul_(1e-6)
    pruner = waiting_pruner(model, None, early_bird(), measure="magnitude", units="weights")
    with pytest.raises(fp.PruningError, match="would be emptied"):
        pruner.step()
    assert pruner.event.looks == 0
