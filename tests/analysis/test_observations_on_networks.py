"""The five observations of networks: what is reported, what it depends on, and the model left as it was found."""

import json
import math

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.analysis import ShortTraining, observations
from tests.signals.networks import assert_same, snapshot


@pytest.fixture(scope="module")
def digits():
    return fp.data.build("digits")


def network(digits, epochs: int) -> nn.Module:
    model = fp.models.build("digits_convnet", widths=(8, 8, 12, 12), seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    data = fp.data.training_batches(digits, batch=64, augment=False)
    fp.train.fit(model, optimizer, data.at, objective=fp.objectives.cross_entropy(), epochs=f"{epochs}ep")
    return model


def sampler(digits, samples=128):
    return lambda seed: fp.data.scoring_batches(digits, samples, batch=32, seed=seed)


def units(digits, name):
    return fp.Weights() if name == "weights" else fp.Channels(example_inputs=digits.inputs("train")[:2])


@pytest.mark.parametrize("epochs", [0, 3])
@pytest.mark.parametrize("granularity", ["channels", "weights"])
def test_on_digits_every_observation_is_reported(digits, epochs, granularity) -> None:
    model, training = network(digits, epochs), ShortTraining(steps=4)
    found = observations(
        model,
        fp.objectives.cross_entropy(),
        sampler(digits),
        granularity=units(digits, granularity),
        seeds=2,
        training=training,
    )
    assert [each.number for each in found] == [1, 2, 3, 4, 5]
    rows = found.to_rows()
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    for each, row in zip(found, rows, strict=True):
        if each.number == 2 and granularity == "channels":  # all filters stand before a batch norm
            assert (each.n, each.value, each.verdict) == (0, None, None)
        else:
            assert each.n == 2
            assert each.low <= each.value <= each.high
            assert each.verdict in ("holds", "does not hold", "undecided")
        assert all(map(math.isfinite, each.details.values()))
        assert row["kind"] == "observation"
        assert (row["value"], row["granularity"], row["steps"]) == (each.value, granularity, 4)
        assert all(row[f"detail_{name}"] == value for name, value in each.details.items())
        assert each.claim in str(found)
        assert each.advice in str(found)
    assert found.units == (
        40 if granularity == "channels" else sum(p.numel() for p in model.parameters() if p.ndim > 1)
    )


def second(model, digits, **options):
    given = {"granularity": units(digits, "channels"), "seeds": 3, "training": ShortTraining(steps=20)} | options
    found = observations(model, fp.objectives.cross_entropy(), sampler(digits, 256), **given)
    return found.observations[1]


def plain(norm: type[nn.Module] | None) -> nn.Sequential:
    """Two convolutions, with norms behind both, behind the first alone, or behind none."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 12, 3, bias=False), nn.ReLU(), nn.Conv2d(12, 12, 3, bias=False), nn.ReLU()]
    if norm is not None:
        layers[1:1] = [norm(12)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(12 * 16, 10))


@pytest.mark.parametrize("epochs", [0, 3])
def test_2_is_not_said_to_hold_of_filters_whose_norm_the_flow_leaves_alone(digits, epochs) -> None:
    """Before a batch norm Σ θ·g is zero in training; norms grow by the size of steps, and still correlate."""
    found = second(network(digits, epochs), digits)
    assert found.verdict is None
    assert found.value is None
    assert found.details["scale_invariant"] == 1.0
    assert math.isfinite(found.details["spearman_all_units"])
    assert math.isfinite(found.details["spearman_signed"])
    assert "batch" in found.advice
    assert "no finite number" not in found.advice


def test_2_speaks_of_a_model_without_norms_and_the_sign_agrees(digits) -> None:
    images = digits.inputs("train")[:64], digits.train.labels[:64]
    found = observations(
        plain(None),
        fp.objectives.cross_entropy(),
        lambda seed: [images, images],  # trained on what was scored, in one small step: E3 itself
        granularity=units(digits, "channels"),
        seeds=2,
        training=ShortTraining(steps=1, learning_rate=1e-3, momentum=0.0),
    ).observations[1]
    assert found.verdict == "holds"
    assert "E3 has it" in found.advice
    assert found.details["scale_invariant"] == 0.0
    assert found.details["spearman_signed"] > 0.99
    assert found.value == found.details["spearman_all_units"]


def test_2_leaves_out_the_layers_that_are_scale_invariant(digits) -> None:
    found = second(plain(nn.BatchNorm2d), digits)
    assert found.details["scale_invariant"] == 0.5
    assert found.value is not None
    assert found.value != found.details["spearman_all_units"]
    assert "50%" in found.advice


def test_2_speaks_of_filters_before_norms_that_are_frozen(digits) -> None:
    model = plain(nn.BatchNorm2d).train()
    model[1].eval()  # its owner froze it, so that training runs on its running statistics
    assert second(model, digits).details["scale_invariant"] == 0.0


def test_equal_seeds_give_equal_numbers_and_others_do_not(digits) -> None:
    model, options = network(digits, 0), {"granularity": fp.Weights(), "training": ShortTraining(3), "seeds": 2}
    model = nn.Sequential(model, nn.Dropout(0.2))
    objective = fp.objectives.cross_entropy()
    torch.manual_seed(5)
    first = observations(model, objective, sampler(digits), **options)
    torch.manual_seed(6)
    assert observations(model, objective, sampler(digits), **options).to_rows() == first.to_rows()
    other = observations(model, objective, lambda seed: sampler(digits)(seed + 7), **options)
    assert all(a.value != b.value for a, b in zip(first, other, strict=True))


def test_batches_may_be_given_once_and_are_dealt_anew(digits) -> None:
    model, objective = network(digits, 0), fp.objectives.cross_entropy()
    batches, options = list(sampler(digits)(0)), {"granularity": fp.Weights(), "training": ShortTraining(2)}
    assert len(batches) == 4
    found = observations(model, objective, iter(batches), seeds=3, **options)
    assert all(each.n == 3 and each.low < each.high for each in found)
    with pytest.raises(ValueError, match="at least 4 batches"):
        observations(model, objective, batches[:3], **options)
    with pytest.raises(ValueError, match="at least two batches"):
        observations(model, objective, lambda seed: batches[:1], **options)
    with pytest.raises(ValueError, match=r"pass \[batch\]"):
        observations(model, objective, batches[0], **options)


def in_use(model: nn.Module) -> nn.Module:
    """With gradients, mixed modes, masks and a user's hook, as in the middle of training."""
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Weights())
    fp.apply(model, fp.select(scores, 0.25))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    model.train()
    model.features[0].eval()
    model.pool.register_forward_hook(lambda module, args, output: None)
    return model


@pytest.mark.parametrize("granularity", ["channels", "weights"])
def test_the_model_is_left_as_found(digits, granularity) -> None:
    model, training = in_use(network(digits, 0)), ShortTraining(2)
    before, masks = snapshot(model), fp.masks.masks_of(model)

    def drawing(seed):
        torch.rand(3)
        return sampler(digits)(seed)

    options = {"granularity": units(digits, granularity), "seeds": 2, "training": training}
    observations(model, fp.objectives.cross_entropy(), drawing, **options)
    assert_same(before, snapshot(model))
    assert all(torch.equal(mask, fp.masks.masks_of(model)[name]) for name, mask in masks.items())


@pytest.mark.parametrize("at", [3, 12, 40])
def test_the_model_is_left_as_found_when_the_objective_breaks(digits, at) -> None:
    model, calls = in_use(network(digits, 0)), []
    cross_entropy = fp.objectives.cross_entropy()

    def breaks(forward, batch):
        calls.append(1)
        if len(calls) == at:
            raise KeyError("broken on purpose")
        return cross_entropy(forward, batch)

    before = snapshot(model)
    with pytest.raises(KeyError, match="on purpose"):
        observations(model, breaks, sampler(digits), granularity=fp.Weights(), training=ShortTraining(4))
    assert_same(before, snapshot(model))
