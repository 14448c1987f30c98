"""The training loop."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from flowprune.core.errors import PruningError
from flowprune.core.step import Step
from flowprune.data import batches, digits, gaussians, training_batches
from flowprune.models import digits_convnet, mlp
from flowprune.objectives import cross_entropy
from flowprune.schedules import lr
from flowprune.train import State, at, chain, evaluate, every, fit

OBJECTIVE = cross_entropy()
CLOUDS = gaussians(samples=160, num_classes=3, shape=(1, 4, 4))
DATA = training_batches(CLOUDS, batch=30, seed=0)  # 112 images: three batches of 30 and one of 22


def network(seed: int = 0) -> nn.Module:
    return mlp(16, (8,), 3, seed=seed)


def sgd(model: nn.Module, rate: float = 0.1) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_one_step_is_plain_gradient_descent():
    """One weight w = 1, loss w^2 with momentum 0.9: w -> 0.8 -> 0.8 - 0.1 (0.9 * 2 + 1.6)."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    seen: list[float] = []

    def squared(forward, batch):
        return (forward(batch[0]) ** 2).mean()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    data = [(torch.ones(1, 1), torch.zeros(1, dtype=torch.int64))]
    fit(model, optimizer, data, objective=squared, epochs="2it", callbacks=[lambda _: seen.append(model.weight.item())])
    assert seen == pytest.approx([1.0, 0.8, 0.46])


def test_training_learns():
    model = network()
    end = fit(model, sgd(model), DATA.at, objective=OBJECTIVE, epochs="15ep")
    assert end.loss is not None
    assert end.accuracy is not None
    assert end.loss < 0.2
    assert end.accuracy > 0.95


def test_the_digits_network_learns_digits():
    model, dataset = digits_convnet(), digits()
    data = training_batches(dataset, batch=64)
    fit(model, sgd(model), data.at, objective=OBJECTIVE, epochs="5ep", rate=lr.steps(0.1, {"4ep": 0.01}))
    result = evaluate(model, dataset.inputs("test"), dataset.test.labels, objective=OBJECTIVE)
    assert result.accuracy is not None
    assert result.accuracy > 0.95


def test_loss_and_accuracy_of_an_epoch_are_means_over_examples():
    model, rows = network(), []
    losses: list[tuple[float, int, int]] = []

    def watched(forward, batch):
        logits = forward(batch[0])
        loss = nn.functional.cross_entropy(logits, batch[1])
        losses.append((float(loss.detach()), len(batch[1]), int((logits.argmax(1) == batch[1]).sum())))
        return loss

    def record(state: State) -> None:
        rows.append((state.loss, state.accuracy, state.last_loss))

    fit(model, sgd(model), DATA.at, objective=watched, epochs="1ep", callbacks=[every("1ep", record)])
    assert [n for _, n, _ in losses] == [30, 30, 30, 22]
    loss, accuracy, last = rows[0]
    assert loss == pytest.approx(sum(value * n for value, n, _ in losses) / 112)
    assert accuracy == sum(right for _, _, right in losses) / 112
    assert last == losses[-1][0]


@pytest.mark.parametrize("stop", ["1it", "3it", "4it", "2ep", "11it"])
def test_resuming_is_bit_equal_to_never_having_stopped(stop):
    rate = lr.steps(0.1, {"2ep": 0.05, "11it": 0.01})
    augmented = batches(CLOUDS.train.images, CLOUDS.train.labels, batch=30, seed=0, augment=digits().augment)
    through, rows = network(), []
    options = {"objective": OBJECTIVE, "rate": rate}
    fit(through, sgd(through), augmented.at, epochs="5ep", **options, callbacks=[lambda s: rows.append(s.iteration)])

    stopped, again = network(), []
    optimizer = sgd(stopped)
    moment = fit(stopped, optimizer, augmented.at, epochs=stop, **options).step
    resumed, restored = network(seed=9), sgd(network(seed=9))
    resumed.load_state_dict(stopped.state_dict())
    restored = sgd(resumed)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    fit(
        resumed,
        restored,
        augmented.at,
        epochs="5ep",
        start=moment,
        **options,
        callbacks=[lambda s: again.append(s.iteration)],
    )
    assert same(through, resumed)
    assert rows == list(range(21))
    assert again == list(range(moment.count + 1, 21))  # the moment itself was told before the stop


def test_resuming_with_batch_norm_and_augmentation_is_bit_equal():
    data = training_batches(digits(), batch=400, seed=1)
    through = digits_convnet(widths=(4, 8))
    fit(through, sgd(through), data.at, objective=OBJECTIVE, epochs="3ep")
    halves = digits_convnet(widths=(4, 8))
    optimizer = sgd(halves)
    fit(halves, optimizer, data.at, objective=OBJECTIVE, epochs="6it")
    fit(halves, optimizer, data.at, objective=OBJECTIVE, epochs="3ep", start="6it")
    assert same(through, halves)


def test_batches_that_cannot_start_inside_are_skipped():
    fixed = list(DATA)
    through, halves = network(), network()
    fit(through, sgd(through), fixed, objective=OBJECTIVE, epochs="2ep")
    optimizer = sgd(halves)
    fit(halves, optimizer, fixed, objective=OBJECTIVE, epochs="5it")
    fit(halves, optimizer, fixed, objective=OBJECTIVE, epochs="2ep", start="5it")
    assert same(through, halves)


def test_the_rate_is_set_before_each_step_in_every_group():
    model = network()
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:]}], lr=123.0)
    asked, seen = [], []

    def rate(iteration: int, per_epoch: int) -> float:
        asked.append((iteration, per_epoch))
        return 0.1 / (1 + iteration)

    def record(state: State) -> None:
        seen.append([group["lr"] for group in state.optimizer.param_groups] + [state.learning_rate])

    fit(model, optimizer, DATA, objective=OBJECTIVE, epochs="6it", rate=rate, callbacks=[every("1it", record)])
    assert asked == [(i, 4) for i in range(6)]
    assert seen == [[0.1 / (1 + i)] * 3 for i in range(6)]


def test_without_a_rate_the_optimizer_keeps_its_own():
    model = network()
    optimizer = sgd(model, 0.03)
    end = fit(model, optimizer, DATA, objective=OBJECTIVE, epochs="1ep")
    assert end.learning_rate == optimizer.param_groups[0]["lr"] == 0.03


def test_callbacks_run_when_they_are_asked_to():
    model, log = network(), []

    def note(text: str):
        return lambda state: log.append((text, state.iteration, state.epoch, state.epoch_ends))

    callbacks = [
        every("1ep", chain(note("epoch"), note("then"))),
        every("3it", note("third")),
        at("0ep", note("before")),
        at("1ep", note("once")),
        at(Step(5, "it"), note("five")),
    ]
    fit(model, sgd(model), DATA, objective=OBJECTIVE, epochs="2ep", callbacks=callbacks)
    assert log == [
        ("before", 0, 0, False),
        ("third", 3, 0, False),
        ("epoch", 4, 1, True),
        ("then", 4, 1, True),
        ("once", 4, 1, True),
        ("five", 5, 1, False),
        ("third", 6, 1, False),
        ("epoch", 8, 2, True),
        ("then", 8, 2, True),
    ]


def test_a_period_of_nothing_is_refused():
    with pytest.raises(ValueError, match="longer than nothing"):
        every("0ep", lambda _: None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_before_its_step(bad):
    model = network()
    calls, before = [], []

    def breaking(forward, batch):
        calls.append(1)
        loss = OBJECTIVE(forward, batch)
        if len(calls) == 6:
            before.append(copy.deepcopy(model))
            return loss * bad
        return loss

    with pytest.raises(PruningError, match=r"the loss is -?(nan|inf) in epoch 2, at iteration 6 of the run"):
        fit(model, sgd(model), DATA, objective=breaking, epochs="3ep")
    assert len(calls) == 6
    assert same(model, before[0])


def narrower(layer: nn.Linear, optimizer: torch.optim.Optimizer, rows: slice, columns: slice) -> None:
    """Cut a linear layer in place: new parameters, and the optimizer follows."""
    for name, index in (("weight", (rows, columns)), ("bias", (rows,))):
        old = getattr(layer, name)
        new = nn.Parameter(old.detach()[index].clone())
        setattr(layer, name, new)
        for group in optimizer.param_groups:
            group["params"] = [new if each is old else each for each in group["params"]]
        state = optimizer.state.pop(old)
        optimizer.state[new] = {"momentum_buffer": state["momentum_buffer"][index].clone()}


def test_a_callback_may_cut_the_model_in_place_between_epochs():
    model = network()
    optimizer = sgd(model)
    everything = slice(None)

    def cut(state: State) -> None:
        first, last = model.layers
        narrower(first, optimizer, slice(0, 5), everything)
        narrower(last, optimizer, everything, slice(0, 5))
        cut_to.append([p.detach().clone() for p in model.parameters()])

    cut_to: list[list[torch.Tensor]] = []
    end = fit(model, optimizer, DATA.at, objective=OBJECTIVE, epochs="3ep", callbacks=[at("1ep", cut)])
    assert end.epoch == 3
    assert [tuple(p.shape) for p in model.parameters()] == [(5, 16), (5,), (3, 5), (3,)]
    assert all(not torch.equal(now, then) for now, then in zip(model.parameters(), cut_to[0], strict=True))


def test_a_data_source_may_be_a_loader():
    dataset = torch.utils.data.TensorDataset(CLOUDS.inputs("train"), CLOUDS.train.labels)
    model = network()
    end = fit(model, sgd(model), torch.utils.data.DataLoader(dataset, 30), objective=OBJECTIVE, epochs="2ep")
    assert (end.iteration, end.per_epoch) == (8, 4)


def test_batches_may_be_mappings():
    model = network()
    named = [{"inputs": x, "targets": y} for x, y in DATA]
    end = fit(model, sgd(model), named, objective=OBJECTIVE, epochs="1ep")
    plain = network()
    expected = fit(plain, sgd(plain), list(DATA), objective=OBJECTIVE, epochs="1ep")
    assert same(model, plain)
    assert end.accuracy == expected.accuracy


def test_batches_without_class_labels_have_no_accuracy():
    model = nn.Linear(2, 1)
    data = [(torch.randn(4, 2), torch.randn(4, 1))]

    def squared(forward, batch):
        return nn.functional.mse_loss(forward(batch[0]), batch[1])

    assert fit(model, sgd(model), data, objective=squared, epochs="1ep").accuracy is None


def test_training_is_in_train_mode_also_after_a_callback_evaluated():
    model = digits_convnet(widths=(4, 4))
    modes = []

    def noted(forward, batch):
        modes.append(model.training)
        return OBJECTIVE(forward, batch)

    data = [next(iter(training_batches(digits(), batch=8)))]
    fit(
        model.eval(),
        sgd(model),
        data,
        objective=noted,
        epochs="2ep",
        callbacks=[every("1ep", lambda s: s.model.eval())],
    )
    assert modes == [True, True]


def test_no_step_is_taken_where_start_is_the_end():
    model = network()
    untouched = copy.deepcopy(model)
    end = fit(model, sgd(model), DATA, objective=OBJECTIVE, epochs="2ep", start="8it")
    assert (end.epoch, end.loss) == (2, None)
    assert same(model, untouched)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": "3ep"}, "no later than epochs=2ep; got '3ep'"),
        ({"epochs": 2}, "'160ep' or '500it'"),
        ({"data": []}, "at least one batch per epoch"),
    ],
)
def test_impossible_runs_are_refused(change, message):
    model = network()
    arguments = {"data": DATA, "epochs": "2ep", **change}
    with pytest.raises(ValueError, match=message):
        fit(model, sgd(model), objective=OBJECTIVE, **arguments)


def test_an_epoch_of_another_length_stops_the_run():
    model, fixed = network(), list(DATA)
    with pytest.raises(PruningError, match="epoch 2: it has 3 batches, and the first one had 4"):
        fit(model, sgd(model), lambda epoch: fixed[: 4 - epoch], objective=OBJECTIVE, epochs="3ep")
    with pytest.raises(PruningError, match="epoch 2: it has 5 batches, and the first one had 4"):
        fit(model, sgd(model), lambda epoch: fixed + fixed[:epoch], objective=OBJECTIVE, epochs="3ep")


def test_batches_that_run_out_stop_the_run():
    class Short(list):
        def __len__(self) -> int:
            return 5

    model = network()
    with pytest.raises(PruningError, match="epoch 1: it has 4 batches, and the first one had 5"):
        fit(model, sgd(model), Short(DATA), objective=OBJECTIVE, epochs="3ep")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"objective": lambda f, b: f(b[0]).flatten()}, r"scalar tensor; got 'a tensor of shape \(2,\)'"),
        ({"objective": lambda f, b: None}, "scalar tensor; got 'NoneType'"),
        ({"objective": lambda f, b: f(b[0]).mean().detach()}, "got 'a constant'"),
        ({"data": (batch for batch in [(torch.ones(2, 1), torch.zeros(2))])}, r"fit\(data=\).*got 'generator'"),
        ({"data": [(torch.ones(0, 1), torch.zeros(0))]}, r"at least one example.*\(0, 1\)"),
        ({"data": []}, "at least one batch"),
    ],
)
def test_what_cannot_be_trained_on_is_told(wrong, said):
    model = nn.Linear(1, 1)
    given = {"data": [(torch.ones(2, 1), torch.zeros(2))], "objective": lambda f, b: f(b[0]).mean(), **wrong}
    before = model.weight.detach().clone()
    with pytest.raises(ValueError, match=said):
        fit(model, sgd(model), given["data"], objective=given["objective"], epochs="1ep")
    assert torch.equal(model.weight, before)
