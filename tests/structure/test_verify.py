"""The probe says what differs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from flowprune.core.errors import PruningError
from flowprune.structure import remove, same_function
from flowprune.structure.example import Example
from flowprune.structure.verify import compare
from tests.structure.comparing import images, randomised
from tests.structure.removable import Perceptron, Plain


def test_the_first_difference_is_named():
    a = {"logits": torch.ones(2), "aux": [torch.zeros(3), torch.ones(1)]}
    b = copy.deepcopy(a)
    same_function(a, b)
    b["aux"][1] += 0.5
    with pytest.raises(PruningError, match=r"output\['aux'\]\[1\] differs: 0.5 apart"):
        same_function(a, b)
    b["aux"][1] = torch.ones(2)
    with pytest.raises(PruningError, match=r"shape \(1,\) against \(2,\)"):
        same_function(a, b)
    with pytest.raises(PruningError, match="parts"):
        same_function(a, {"logits": torch.ones(2)})


def test_nan_is_a_difference_unless_both_have_it():
    nan = torch.tensor([float("nan"), 1.0])
    same_function(nan, nan.clone())
    with pytest.raises(PruningError):
        same_function(torch.tensor([0.0, 1.0]), nan)


def test_infinities_do_not_hide_a_difference():
    a, b = torch.tensor([float("inf"), 1.0]), torch.tensor([float("inf"), 2.0])
    with pytest.raises(PruningError, match="1 apart at values up to 1"):
        same_function(a, b)
    with pytest.raises(PruningError, match="NaN or infinities in other places"):
        same_function(a, -a)


def test_whole_numbers_and_complex_ones_are_compared():
    assert same_function(torch.tensor([1, 2]), torch.tensor([1, 2])) == 2
    with pytest.raises(PruningError, match="1 of 2 whole numbers"):
        same_function(torch.tensor([1, 2]), torch.tensor([1, 3]))
    with pytest.raises(PruningError, match="1 apart"):
        same_function(torch.tensor([1 + 1j]), torch.tensor([1 + 2j]))


@pytest.mark.parametrize(
    "head", [lambda x: x * float("nan"), lambda x: x[:0], lambda x: x.argmax(1)], ids=["NaN", "empty", "places"]
)
def test_what_shows_nothing_is_no_proof(head):
    """Two networks of other weights."""

    class Headed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 6)

        def forward(self, x):
            return head(self.linear(x))

    torch.manual_seed(0)
    with pytest.raises(PruningError, match=r"must give some finite numbers|differs"):
        compare(Headed(), Headed(), Example.of(torch.randn(16, 4)))


def test_no_examples():
    with pytest.raises(ValueError, match=r"example_inputs=\) must be examples, two will do; got .*\(0, 4\)"):
        Example.of(torch.randn(0, 4))


def test_a_small_difference_counts_in_double_precision():
    with pytest.raises(PruningError):
        same_function(torch.ones(2).double(), torch.ones(2).double() + 1e-5)
    same_function(torch.ones(2).double(), torch.ones(2).double() + 1e-5, tolerance=1e-4)


def test_modes_are_compared_and_dropout_is_not():
    model = randomised(Perceptron)
    compare(copy.deepcopy(model), copy.deepcopy(model), Example.of(images()))
    changed = randomised(Plain)
    changed[1].momentum, changed[1].eps = 0.2, 1e-2
    with pytest.raises(PruningError, match="in eval mode"):
        compare(randomised(Plain), changed, Example.of(images()))


def test_a_difference_in_training_mode_alone():
    class Odd(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor, self.linear = factor, nn.Linear(2, 2)

        def forward(self, x):
            return self.linear(x) * (self.factor if self.training else 1.0)

    torch.manual_seed(0)
    model = Odd(1.0).double()
    other = copy.deepcopy(model)
    other.factor = 2.0
    with pytest.raises(PruningError, match="in train mode"):
        compare(model, other, Example.of(torch.ones(2, 2).double()))


def test_a_model_of_one_type_only_is_compared_in_that_type():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x):
            return self.linear(x.float())

    compare(Single_ := Single(), copy.deepcopy(Single_), Example.of(torch.ones(2, 2)))


def test_a_norm_over_one_value_is_compared_in_evaluation_mode():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    compare(copy.deepcopy(model), copy.deepcopy(model), Example.of(torch.ones(1, 2)))


def test_a_model_without_values_cannot_be_compared():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).to("meta"), torch.ones(2, 3, device="meta")
    masks = {"0.weight": torch.arange(4) < 2}
    with pytest.raises(PruningError, match=r"'0\.weight' is on the meta device.*verify=False"):
        remove(model, masks, example_inputs=x)
    assert remove(model, masks, example_inputs=x, verify=False)[2].in_features == 2
