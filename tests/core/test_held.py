"""What is held at zero: found where it strayed, set to zero whatever it holds, and known as the model copies it."""

import copy

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.held import astray, factor, hold, let_go, masks_on, zero_
from flowprune.core.tensors import PIECE
from flowprune.masks import masks_of

TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", TYPES)
def test_what_strayed_is_nonzero_and_masked(dtype):
    value = torch.tensor([0.0, 1.0, 0.0, 2.0, -0.0, float("nan"), float("inf")], dtype=dtype)
    mask = torch.tensor([True, True, False, False, False, False, False])
    assert astray(value, mask).tolist() == [False, False, False, True, False, True, True]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("masked", [0, 1, 400])
def test_masked_entries_are_set_to_zero_whatever_they_hold(dtype, masked):
    weight = torch.full((20, 20), float("nan"), dtype=dtype)
    mask = torch.ones(400, dtype=torch.bool)
    mask[:masked] = False
    zero_(weight, mask.view(20, 20))
    assert not weight.view(-1)[:masked].any()
    assert weight.view(-1)[masked:].isnan().all()


def test_a_parameter_that_is_no_block_of_memory_and_a_mask_that_is_spread():
    weight = torch.ones(4, 6).t()
    mask = torch.tensor([[True, False, True, True]])
    zero_(weight, mask.expand(6, 4))
    assert weight.sum(0).tolist() == [6.0, 0.0, 6.0, 6.0]


def test_a_factor_follows_the_type_of_its_parameter_and_a_new_mask():
    layer = nn.Linear(2, 1, bias=False)
    assert factor(layer.weight) is None
    hold(layer.weight, torch.tensor([[1.0, 0.0]]))
    assert factor(layer.weight).dtype == torch.float32
    assert factor(layer.double().weight).dtype == torch.float64
    hold(layer.weight, torch.tensor([[False, True]]))
    assert factor(layer.weight).tolist() == [[0.0, 1.0]]
    let_go(layer.weight)
    assert factor(layer.weight) is None
    assert masks_on({"weight": layer.weight}) == {}


def test_masks_that_were_applied_do_not_change_with_the_tensor_that_was_passed():
    layer, mask = nn.Linear(2, 1, bias=False), torch.tensor([[True, False]])
    fp.apply(layer, {"weight": mask})
    mask[:] = True
    assert masks_of(layer)["weight"].tolist() == [[True, False]]
    assert masks_on(dict(copy.deepcopy(layer).named_parameters()))["weight"].tolist() == [[True, False]]


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, 2 * PIECE + 3])
def test_every_piece_of_a_large_parameter_is_zeroed_and_nothing_else_is_touched(size):
    weight, mask = torch.rand(size) + 1, torch.rand(size) < 0.5
    weight[0], weight[-1] = float("nan"), float("inf")
    mask[0] = mask[-1] = False
    expected = weight.masked_fill(~mask, 0)
    zero_(weight, mask)
    assert torch.equal(weight, expected)


def test_autograd_knows_that_a_parameter_was_written_to():
    weight = torch.nn.Parameter(torch.ones(2))
    loss = (weight**2).sum()
    zero_(weight, torch.tensor([True, False]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
