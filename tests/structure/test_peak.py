"""The most bytes alive at one moment, against what is counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowprune.models import build
from flowprune.structure import peak_memory
from flowprune.structure.peak import LiveBytes

FLOAT = 4


def test_a_sequential_model_by_hand():
    """The ReLU holds its input (5 x 8) and its output (5 x 8); the last layer holds 5 x 8 and 5 x 2."""
    wide, narrow = 5 * 8 * FLOAT, 5 * 2 * FLOAT
    layers = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)
    assert peak_memory(nn.Sequential(*layers), torch.ones(5, 4)) == 2 * wide
    in_place = nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[2])
    assert peak_memory(in_place, torch.ones(5, 4)) == wide + narrow
    assert peak_memory(nn.Sequential(layers[0], layers[2]), torch.ones(5, 4)) == wide + narrow


def test_it_is_not_the_sum_of_outputs():
    """However deep, two layers are alive at a time."""
    for depth in (2, 7):
        model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(depth)))
        assert peak_memory(model, torch.ones(3, 6)) == 2 * 3 * 6 * FLOAT


def test_what_a_skip_holds_on_to_is_alive():
    """In the paper's ResNet: the first stage's input, the block's input, the residual, the sum and its ReLU."""
    model = build("resnet20", num_classes=10)
    assert peak_memory(model, torch.zeros(2, 3, 32, 32)) == 5 * 2 * 16 * 32 * 32 * FLOAT


class Held(nn.Module):
    """Lets go of a tensor, or keeps it until the end."""

    def __init__(self, keep):
        super().__init__()
        self.keep = keep

    def forward(self, x):
        wide = torch.cat([x] * 8, dim=1)
        part = wide[:, :4].clone()
        if not self.keep:
            del wide
        return torch.cat([part, part], dim=1)


@pytest.mark.parametrize(("keep", "numbers"), [(False, 32 + 4), (True, 32 + 4 + 8)])
def test_memory_is_given_back_when_nothing_holds_it(keep, numbers):
    assert peak_memory(Held(keep), torch.ones(3, 4)) == 3 * numbers * FLOAT


def test_views_and_operations_in_place_take_nothing():
    with LiveBytes() as memory:
        a = torch.zeros(4, 6)
        b = a.t()[1:].unsqueeze(0).expand(3, 5, 4)
        a.add_(1).relu_()
    assert b.sum() == 3 * 20
    assert memory.peak == a.nbytes
    with LiveBytes() as memory:
        a.view(2, 12).mul_(2)
    assert memory.peak == 0


def test_what_was_there_before_is_not_counted():
    held = torch.zeros(1000)
    with LiveBytes() as memory:
        held.add_(1)
        small = held[:10] * 2
    assert (memory.live, memory.peak) == (small.nbytes, small.nbytes)


def test_a_storage_that_grows_is_followed():
    with LiveBytes() as memory:
        out = torch.empty(2)
        torch.arange(10, dtype=torch.float32, out=out.resize_(10))
    assert memory.live == 10 * FLOAT


def test_the_model_is_left_as_found_and_twice_gives_the_same():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout()).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    first = peak_memory(model, torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    assert first == peak_memory(model, torch.zeros(4, 3))
    assert model.training
    assert torch.equal(random, torch.get_rng_state())
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_it_grows_with_the_batch(batch):
    model = build("digits_convnet")
    one = peak_memory(model, torch.zeros(1, 1, 8, 8))
    assert peak_memory(model, torch.zeros(batch, 1, 8, 8)) == batch * one
