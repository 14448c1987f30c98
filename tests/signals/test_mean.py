"""A running mean that is given away: exact, the caller's own, and zero where a mask says so."""

import pytest
import torch

from flowprune.core.tensors import PIECE
from flowprune.signals.mean import Mean, live

KEPT = torch.tensor([True, False, True])


def mean_of(*entries):
    mean = Mean()
    for value, samples in entries:
        mean.add([value], samples)
    return mean


def test_weights_are_samples():
    entries = [(torch.tensor([1.0, 2.0]), 1), (torch.tensor([5.0, 2.0]), 2), (torch.tensor([1.0, 8.0]), 1)]
    assert mean_of(*entries).result()[0].tolist() == [3.0, 3.5]


@pytest.mark.parametrize("kept", [None, [torch.tensor([True, True, True])], [KEPT]])
def test_one_entry_is_copied_and_what_came_in_is_left_alone(kept):
    value = torch.tensor([1.0, 2.0, 3.0])
    found = mean_of((value, 4)).result(kept)[0]
    found.fill_(9.0)
    assert value.tolist() == [1.0, 2.0, 3.0]


def test_two_entries_leave_both_alone():
    first, second = torch.tensor([1.0]), torch.tensor([3.0])
    assert mean_of((first, 1), (second, 1)).result()[0].item() == 2.0
    assert (first.item(), second.item()) == (1.0, 3.0)


def test_without_copies_one_entry_is_what_came_in():
    value = torch.ones(3)
    assert mean_of((value, 2)).result(copies=False)[0].data_ptr() == value.data_ptr()


def test_expanded_tensors_become_whole_ones():
    value = torch.ones(1).expand(3)
    for copies in (True, False):
        assert mean_of((value, 1)).result(copies=copies)[0].is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_masked_entries_are_zero_whatever_they_hold(dtype):
    for strange in (float("nan"), float("inf"), 2.0, 0.0):
        found = live(torch.tensor([1.0, strange, 3.0], dtype=dtype), KEPT)
        assert found.tolist() == [1.0, 0.0, 3.0]
    assert live(torch.tensor([float("nan"), 2.0, 1.0], dtype=dtype), KEPT)[:2].tolist()[1] == 0.0


def test_half_precision_is_summed_in_single():
    value = torch.full((3,), 1.0, dtype=torch.bfloat16)
    entries = [(value, 1)] * 257
    assert mean_of(*entries).result([KEPT])[0].tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("strange", [1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_piece_of_a_large_tensor_is_masked(dtype, strange):
    value, kept = torch.rand(2 * PIECE + 3, dtype=dtype) + 1, torch.rand(2 * PIECE + 3) < 0.5
    value[-1], kept[-1] = strange, False
    assert torch.equal(live(value, kept), value.masked_fill(~kept, 0))


def test_an_entry_astray_is_found_wherever_it_is():
    value, kept = torch.zeros(3, 4), torch.ones(3, 4, dtype=torch.bool)
    kept[0] = False
    assert live(value, kept) is value
    value[0, 2] = 5.0
    assert live(value, kept)[0, 2] == 0
