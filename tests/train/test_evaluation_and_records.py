"""Evaluation changes nothing, and a result never chose by the test split."""

from __future__ import annotations

import random
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from flowprune.core.errors import PruningError
from flowprune.data import digits, training_batches
from flowprune.models import digits_convnet
from flowprune.objectives import cross_entropy
from flowprune.schedules import lr
from flowprune.train import EpochRecord, Recorder, State, evaluate, evaluate_batches, every, fit, select
from flowprune.train.forward import Forward
from flowprune.train.tally import Tally

OBJECTIVE = cross_entropy()
DIGITS = digits()
TEST = (DIGITS.inputs("test"), DIGITS.test.labels)


def network() -> nn.Module:
    return digits_convnet(widths=(4, 8))


@pytest.mark.parametrize("batch", [7, 100, 1000])
def test_loss_and_accuracy_do_not_depend_on_the_batch_size(batch):
    model = network()
    result = evaluate(model, *TEST, objective=OBJECTIVE, batch=batch)
    model.eval()
    with torch.no_grad():
        logits = model(TEST[0])
    assert result.loss == pytest.approx(float(nn.functional.cross_entropy(logits, TEST[1])), rel=1e-5)
    assert result.accuracy == int((logits.argmax(1) == TEST[1]).sum()) / len(TEST[1])


def test_evaluating_leaves_the_model_as_it_was():
    model = network()
    model.features[0].eval()  # a mixture of modes is put back as a mixture
    nn.functional.cross_entropy(model(TEST[0]), TEST[1]).backward()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    grads = {name: p.grad.clone() for name, p in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()

    evaluate(model, *TEST, objective=OBJECTIVE)
    with pytest.raises(ZeroDivisionError):
        evaluate(model, *TEST, objective=lambda forward, batch: forward(batch[0]).sum() * (1 / 0))

    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(p.grad, grads[name]) for name, p in model.named_parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()


def test_accuracy_is_that_of_the_inputs_an_objective_was_given():
    """An objective that also looks at disturbed inputs must not have those counted."""
    model = network().eval()

    def disturbed(forward, batch):
        clean = nn.functional.cross_entropy(forward(batch[0]), batch[1])
        return clean + nn.functional.cross_entropy(forward(torch.zeros_like(batch[0])), batch[1])

    expected = evaluate(model, *TEST, objective=OBJECTIVE).accuracy
    assert evaluate(model, *TEST, objective=disturbed).accuracy == expected


def test_no_batches_are_refused():
    with pytest.raises(ValueError, match="at least one batch"):
        evaluate_batches(network(), [], objective=OBJECTIVE)


def row(epoch: int, valid: float, test: float, loss: float = 1.0) -> EpochRecord:
    return EpochRecord(epoch, 10 * epoch, 1.0, 0.5, loss, valid, test, 0.1, 2.0)


def test_the_model_is_selected_by_validation_alone():
    """Q11, RT-13: whatever the test accuracies are, the same epoch is selected."""
    generator = random.Random(0)
    rows = [row(i, generator.random(), generator.random(), generator.random()) for i in range(1, 30)]
    chosen = select(rows).selected_epoch
    for _ in range(20):
        shuffled = [replace(each, test_accuracy=generator.random()) for each in rows]
        result = select(shuffled)
        assert result.selected_epoch == chosen
        assert result.test_accuracy_selected == shuffled[chosen - 1].test_accuracy
        assert result.test_accuracy_final == shuffled[-1].test_accuracy


def test_ties_go_to_the_lower_validation_loss_and_then_to_the_earlier_epoch():
    rows = [row(1, 0.9, 0.1, 0.5), row(2, 0.9, 0.2, 0.3), row(3, 0.9, 0.3, 0.3), row(4, 0.8, 0.4, 0.1)]
    assert select(rows).selected_epoch == 2


def test_epochs_before_the_last_cut_are_not_eligible():
    rows = [row(1, 0.99, 0.99), row(2, 0.5, 0.4), row(3, 0.4, 0.3)]
    assert select(rows, after=1).selected_epoch == 2
    with pytest.raises(ValueError, match="before the last recorded epoch"):
        select(rows, after=3)


def test_a_recorded_run():
    dataset = DIGITS
    valid = (dataset.inputs("valid"), dataset.valid.labels)
    recorder, model = Recorder(OBJECTIVE, valid, TEST), network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    data = training_batches(dataset, batch=200)
    fit(
        model,
        optimizer,
        data.at,
        objective=OBJECTIVE,
        epochs="3ep",
        rate=lr.steps(0.1, {"2ep": 0.01}),
        callbacks=[every("1ep", recorder)],
    )
    assert [(each.epoch, each.iteration, each.learning_rate) for each in recorder.records] == [
        (1, 7, 0.1),
        (2, 14, 0.1),
        (3, 21, 0.01),
    ]
    final = evaluate(model, *TEST, objective=OBJECTIVE)
    result = select(recorder.records)
    assert result.test_accuracy_final == final.accuracy
    assert result.valid_accuracy_best == max(each.valid_accuracy for each in recorder.records)
    assert result.epochs == 3
    assert result.train_seconds == sum(each.seconds for each in recorder.records) > 0
    assert set(asdict(recorder.records[0])) >= {
        "train_loss",
        "train_accuracy",
        "valid_loss",
        "test_accuracy",
        "seconds",
    }


def test_a_recorder_needs_training_behind_it():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = Recorder(OBJECTIVE, TEST, TEST)
    with pytest.raises(PruningError, match="at least one training step"):
        recorder(State(model, optimizer, 0, 7, Tally(), None, 0.1, 0.0))


def test_inputs_in_any_form_are_counted_and_recognised():
    a, b, y = torch.eye(3), torch.zeros(3, 3), torch.tensor([0, 1, 0])
    for inputs in ((a, b), [a, b], {"right": b, "left": a}):
        forward = Forward(Sum(), (inputs, y))
        OBJECTIVE(forward, (inputs, y))
        assert forward.examples == 3
        assert int(forward.correct()) == 2


class Sum(nn.Module):
    def forward(self, left, right):
        return left + right
