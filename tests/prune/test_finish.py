"""All rounds at once give what as many steps do, and keep nothing that shares memory with the model."""

import pytest
import torch

import flowprune as fp
from flowprune.core.source import Source
from tests.prune.networks import batches, convnet

OBJECTIVE = fp.objectives.cross_entropy()


def pruner_of(model, measure, granularity, **how):
    schedule = fp.schedules.exponential(rounds=4, sparsity=0.5)
    how = {"objective": OBJECTIVE, "schedule": schedule, **how}
    return fp.Pruner(model, None, measure=measure, granularity=granularity, **how)


def stepped(pruner, examples):
    return [cut for cut in iter(lambda: pruner.step(examples), None) if cut is not None]


EVERY = ("magnitude", "loss_preservation", "gradient_norm_increase", "fisher")


@pytest.mark.parametrize(
    ("measure", "channels"), [*((name, removes) for name in EVERY for removes in (False, True)), ("force", False)]
)
def test_as_many_steps(measure, channels):
    examples = batches(2)
    units = fp.Channels(example_inputs=examples[0][0]) if channels else fp.Weights()
    one, other = convnet(), convnet()
    other.load_state_dict(one.state_dict())
    slow, fast = pruner_of(one, measure, units), pruner_of(other, measure, units)
    cuts, left = stepped(slow, examples), fast.finish(examples)
    assert [cut.units_after for cut in cuts] == [cut.units_after for cut in left.cuts]
    between = [tuple(check for check in cut.checks if check != "zeros") for cut in cuts[:-1]]
    assert [*between, cuts[-1].checks] == [cut.checks for cut in left.cuts]  # zeros are looked for once, at the end
    assert all(torch.equal(slow.masks[name], left.masks[name]) for name in slow.masks)
    assert all(torch.equal(cuts[-1].scores[name], left.scores[name]) for name in left.scores)
    assert left.before.kept == cuts[-2].units_after
    values, others = one.state_dict(), other.state_dict()
    assert all(torch.equal(values[name], others[name]) for name in values)


def test_scores_that_are_the_parameters_stay_what_they_were():
    raw = fp.Measure("raw", None, (), "sum", "w", lambda signals: dict(signals.params), Source("nobody", 2000, "none"))
    model = convnet()
    with torch.no_grad():
        for param in model.parameters():
            param.abs_().add_(0.1)
    left = pruner_of(model, raw, fp.Weights()).finish()
    assert all(bool((score[left.before[name]] > 0).all()) for name, score in left.scores.items())


def test_of_what_is_left():
    examples, model = batches(1), convnet()
    pruner = pruner_of(model, "magnitude", fp.Weights())
    pruner.step(examples)
    assert [cut.round for cut in pruner.finish(examples).cuts] == [2, 3, 4]
    assert pruner.done
    assert pruner.finish(examples).cuts == ()


def test_a_weight_that_moved_before_is_found():
    model = convnet()
    pruner = pruner_of(model, "magnitude", fp.Weights())
    pruner.step()
    with torch.no_grad():
        next(p for p in model.parameters() if p.ndim > 1).fill_(1.0)
    with pytest.raises(fp.PruningError, match="must be zero"):
        pruner.finish()


def test_an_event_must_have_fired():
    when = fp.schedules.early_bird()
    pruner = pruner_of(convnet(), "magnitude", fp.Weights(), when=when)
    with pytest.raises(ValueError, match="once the event has fired"):
        pruner.finish()


def test_signals_without_copies_have_the_same_values():
    model, examples = convnet(), batches(1)
    fp.apply(model, fp.select(fp.score("magnitude", fp.gather(model, OBJECTIVE, (), needs=())), 0.5))
    own = fp.gather(model, OBJECTIVE, examples, needs=("gradient",))
    lent = fp.gather(model, OBJECTIVE, examples, needs=("gradient",), copies=False)
    assert all(torch.equal(own.gradient[name], lent.gradient[name]) for name in own.gradient)
    for name, param in model.named_parameters():
        assert lent.params[name].data_ptr() == param.data_ptr() != own.params[name].data_ptr()
