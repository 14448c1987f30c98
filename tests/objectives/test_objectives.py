"""Objectives: closed forms, shapes, batch forms, errors."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from flowprune.core.errors import UnknownNameError
from flowprune.objectives import OBJECTIVES, Objective, cross_entropy, mean_squared_error
from flowprune.objectives.batch import inputs_of


def identity(x):
    return x


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 3, 1, 2, 2, 0])


def test_cross_entropy_is_minus_log_softmax_of_the_logits(batch):
    # RT-5: nll_loss on raw logits is another number, and can be negative.
    logits, targets = batch
    expected = -logits.log_softmax(1)[torch.arange(6), targets].mean()
    torch.testing.assert_close(cross_entropy()(identity, batch), expected)
    assert not torch.isclose(functional.nll_loss(logits, targets), expected)


def test_temperature_divides_the_logits(batch):
    logits, targets = batch
    expected = -(logits / 5).log_softmax(1)[torch.arange(6), targets].mean()
    objective = cross_entropy(temperature=5.0)
    torch.testing.assert_close(objective(identity, batch), expected)
    assert objective.temperature == 5.0


def test_the_objective_is_the_mean_of_its_examples(batch):
    for objective in (cross_entropy(2.0), Objective("sum", lambda forward, b: forward(b[0]).sum(1))):
        each = objective.per_example(identity, batch)
        assert each.shape == (6,)
        torch.testing.assert_close(objective(identity, batch), each.mean())


def test_probabilities_serve_as_targets(batch):
    logits, targets = batch
    hot = functional.one_hot(targets, 4).double()
    torch.testing.assert_close(cross_entropy()(identity, (logits, hot)), cross_entropy()(identity, batch))


def test_positions_are_averaged_within_an_example_and_padding_is_not_counted():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 5), torch.tensor([[1, 2, -100], [4, 0, 3]])
    losses = -logits.log_softmax(2)
    expected = torch.stack([(losses[0, 0, 1] + losses[0, 1, 2]) / 2, (losses[1, [0, 1, 2], [4, 0, 3]]).mean()])
    torch.testing.assert_close(cross_entropy().per_example(identity, (logits, targets)), expected)
    as_image = (logits.movedim(-1, 1), targets)
    torch.testing.assert_close(cross_entropy().per_example(identity, as_image), expected)


@pytest.mark.parametrize("key", ["targets", "labels"])
def test_mappings_are_batches(batch, key):
    logits, targets = batch
    expected = cross_entropy()(identity, batch)
    torch.testing.assert_close(cross_entropy()(identity, {"inputs": logits, key: targets}), expected)
    torch.testing.assert_close(cross_entropy()(lambda scores: scores, {"scores": logits, key: targets}), expected)


def test_output_records_with_logits_are_understood(batch):
    expected = cross_entropy()(identity, batch)
    torch.testing.assert_close(cross_entropy()(lambda x: SimpleNamespace(logits=x), batch), expected)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match=r"cross_entropy\(temperature=\) must be a positive number"):
        cross_entropy(temperature)


def test_mean_squared_error_refuses_to_broadcast():
    batch = (torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(ValueError, match="of the output's shape"):
        mean_squared_error()(identity, batch)


def test_mean_squared_error_of_scalars_and_of_rows():
    rows = (torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2))
    assert mean_squared_error()(identity, rows) == 5.0
    assert mean_squared_error()(identity, (torch.tensor([2.0]), torch.zeros(1))) == 4.0


@pytest.mark.parametrize("batch", [torch.zeros(2), (1, 2, 3), 5])
def test_what_is_no_batch_is_refused(batch):
    with pytest.raises(ValueError, match=r"a pair \(inputs, targets\) or a mapping"):
        inputs_of(batch)


def test_a_mapping_without_targets_is_refused():
    with pytest.raises(ValueError, match="'targets' or 'labels'"):
        cross_entropy()(identity, {"inputs": torch.zeros(1, 2)})


def test_the_index_makes_objectives_and_names_unknown_ones():
    assert OBJECTIVES["cross_entropy"](temperature=3.0).name == "cross_entropy"
    assert {maker().name for maker in OBJECTIVES.values()} == set(OBJECTIVES)
    with pytest.raises(UnknownNameError, match="cross_entropy"):
        OBJECTIVES["crossentropy"]


def test_importing_objectives_does_not_import_torch():
    code = "import sys, flowprune.objectives as o; o.cross_entropy(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_inputs_are_unpacked_by_one_rule():
    a, b, y = torch.ones(2, 3), torch.full((2, 3), 2.0), torch.tensor([0, 1])

    def minus(left, right):
        return right - left

    expected = cross_entropy()(identity, (b - a, y))
    for inputs in ((a, b), [a, b], {"right": b, "left": a}):
        assert cross_entropy()(minus, (inputs, y)) == expected
        assert cross_entropy()(minus, {"inputs": inputs, "labels": y}) == expected
    assert cross_entropy()(minus, {"left": a, "right": b, "targets": y}) == expected
    assert cross_entropy()(identity, ((b - a,), y)) == expected


@pytest.mark.parametrize("temperature", ["5", None, True, 0, -1, 1j])
def test_temperature_must_be_a_number(temperature):
    with pytest.raises(ValueError, match=r"cross_entropy\(temperature=\) must be a positive number"):
        cross_entropy(temperature)


def test_an_example_without_a_target_is_refused_and_not_counted_as_zero():
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 4), torch.tensor([1, -100, 2])
    with pytest.raises(ValueError, match=r"cross_entropy\(targets=\) must be given for every example"):
        cross_entropy()(identity, (logits, targets))
    with pytest.raises(ValueError, match=r"cross_entropy\(targets=\)"):
        cross_entropy()(identity, (torch.randn(2, 3, 5), torch.tensor([[1, 2, -100], [-100, -100, -100]])))
    each = torch.func.vmap(lambda z, y: cross_entropy().per_example(identity, (z[None], y[None]))[0])(logits, targets)
    assert each.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(each[[0, 2]], cross_entropy().per_example(identity, (logits[[0, 2]], targets[[0, 2]])))


def test_probabilities_at_positions_are_averaged():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 5, 3), torch.tensor([[1, 2, 0], [4, 0, 3]])
    hot = functional.one_hot(targets, 5).movedim(-1, 1).float()
    torch.testing.assert_close(cross_entropy()(identity, (logits, hot)), cross_entropy()(identity, (logits, targets)))
