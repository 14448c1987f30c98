"""A tensor is replaced wherever a model holds it, or it is told that it cannot be."""

from __future__ import annotations

from collections import namedtuple
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowprune.core.errors import PruningError
from flowprune.structure import cut_, rehearse, remove, trace
from flowprune.structure.swapping import swap_


class Held:
    """A plain object that holds a tensor."""

    def __init__(self, tensor):
        self.tensor = tensor


Pair = namedtuple("Pair", "first second")
HOLDERS = {
    "attribute": (lambda w: w, lambda held: held),
    "list": (lambda w: [w], lambda held: held[0]),
    "nested": (lambda w: {"a": [(1, w)]}, lambda held: held["a"][0][1]),
    "named tuple": (lambda w: Pair(w, 1), lambda held: held.first),
    "set": (lambda w: {w}, lambda held: next(iter(held))),
    "key": (lambda w: {w: 1}, lambda held: next(iter(held))),
    "object": (Held, lambda held: held.tensor),
}


class Listed(nn.Module):
    """Reads its parameters from a list, and one of them from its place too."""

    def __init__(self, hold, read):
        super().__init__()
        self.w1, self.w2 = nn.Parameter(torch.randn(6, 5)), nn.Parameter(torch.randn(3, 6))
        self.read = read
        self.__dict__["held"] = hold(self.w1)  # no second name

    def forward(self, x):
        return functional.linear(functional.linear(x, self.read(self.held)).relu(), self.w2)


@pytest.mark.parametrize("kind", HOLDERS)
def test_the_copy_computes_with_its_own_parameters(kind):
    model, x = Listed(*HOLDERS[kind]), torch.randn(4, 5)
    small = remove(model, {"w1": torch.arange(6) < 4}, example_inputs=x)
    assert small.read(small.held) is small.w1
    assert model.read(model.held) is model.w1
    small(x).sum().backward()
    assert small.w1.grad is not None
    assert model.w1.grad is None
    assert not small.w1[4:].any()
    masked = functional.linear(functional.linear(x, model.w1)[:, :4].relu(), model.w2[:, :4])
    torch.testing.assert_close(small(x), masked)


def test_the_flat_weights_of_a_recurrent_layer_are_its_own():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.LSTM(3, 2)), torch.randn(2, 4, 3)
    small = remove(model, {"0.weight": torch.arange(4) < 2}, example_inputs=x)
    assert all(a is b for a, b in zip(small[3]._flat_weights, small[3].parameters(), strict=True))


def test_a_cut_in_place_follows_into_what_modules_keep():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(2, 3)
    model.penalised = [model[0].weight, model[2].weight]
    cut_(model, trace(model, x), {"0.weight": torch.arange(4) < 3})
    assert model.penalised[0] is model[0].weight
    assert model.penalised[1] is model[2].weight


def test_what_holds_itself_is_no_trap():
    model = nn.Linear(2, 2)
    model.loop = [model.weight]
    model.loop.append(model.loop)
    new = nn.Parameter(torch.zeros(2, 2))
    swap_(model, {id(model.weight): new})
    assert model.loop[0] is new
    assert model.loop[1] is model.loop


def closure(layer):
    weight = layer.weight
    return lambda module, args, output: output + weight.sum()


@pytest.mark.parametrize("hook", [closure, lambda layer: partial(lambda w, *args: args[2] + w.sum(), layer.weight)])
def test_what_a_function_holds_is_told(hook):
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(2, 3)
    model.register_forward_hook(hook(model[0]))
    masks = {"0.weight": torch.arange(4) < 3}
    with pytest.raises(PruningError, match=r"'0\.weight' of the model itself"):
        remove(model, masks, example_inputs=x)
    with pytest.raises(PruningError, match=r"hook of 'the model' holds '0\.weight'"):
        rehearse(model, trace(model, x), masks, x)
