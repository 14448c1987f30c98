"""The cut is tried on copies: what is compared, what is not, and what is left as found."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from flowprune.core.errors import PruningError
from flowprune.objectives import cross_entropy
from flowprune.signals import gather
from flowprune.structure import Channels, rehearse, remove, trace
from tests.structure.comparing import UnitMasks, drawn, images, randomised, zeroed
from tests.structure.removable import Perceptron, Plain, Residual
from tests.structure.test_left_as_found import assert_as_found, snapshot


class Middle(nn.Module):
    """Two layers with a function between them."""

    def __init__(self, act):
        super().__init__()
        self.a, self.b, self.act = nn.Linear(4, 6), nn.Linear(6, 2), act

    def forward(self, x):
        return self.b(self.act(self.a(x), self.training))


KEEP = {"a.weight": torch.arange(6) < 4}


def relu(x, training):
    return x.relu()


def layout_of(model, x):
    return trace(Middle(relu).to(x.dtype), x).groups


@pytest.mark.parametrize("kind", [Plain, Residual, Perceptron])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_right_cut_passes_in_both_modes(kind, dtype):
    model, x = randomised(kind).to(dtype), images(count=7).to(dtype)
    found = trace(model, x)
    masks = drawn(found.groups)
    assert rehearse(model, found, masks, x) == rehearse(model, found.groups, dict(masks), [x]) == ("eval", "train")


def test_a_wrong_cut_is_refused():
    x = torch.randn(2, 4)
    model = Middle(lambda x, training: x.sigmoid())
    with pytest.raises(PruningError, match="must compute what the masked one computes in eval mode"):
        rehearse(model, layout_of(model, x), KEEP, x)
    late = Middle(lambda x, training: x.sigmoid() if training else x.relu())
    with pytest.raises(PruningError, match="in train mode"):
        rehearse(late, layout_of(late, x), KEEP, x)
    written = Middle(lambda x, training: x.view(-1, 6).relu() + 0 * x)
    with pytest.raises(PruningError, match="must run in eval mode"):
        rehearse(written, layout_of(written, x), KEEP, x)


@pytest.mark.parametrize(
    ("act", "modes"),
    [
        (lambda x, training: functional.dropout(x.relu(), 0.5, training), ("eval",)),
        (lambda x, training: functional.dropout(x.relu(), 0.5, True), ()),
        (lambda x, training: x.relu() * (random.random() + np.random.rand()), ("eval", "train")),
    ],
    ids=["in training", "always", "alike for both"],
)
def test_a_mode_whose_randomness_tells_the_two_apart_is_not_compared(act, modes):
    x = torch.rand(20, 4)
    model = Middle(act)
    with torch.no_grad():
        model.a.weight.abs_()
        model.a.bias.abs_()  # every unit is alive, so that a unit dropped is seen
    assert rehearse(model, layout_of(model, x), KEEP, x) == modes


def test_randomness_that_a_second_draw_does_not_show():
    """The draws of a few dropped units coincide now and then."""
    x = torch.randn(2, 4)
    model = Middle(lambda x, training: x.sigmoid() * (1 + (torch.initial_seed() > 1)))
    assert rehearse(model, layout_of(model, x), KEEP, x) == ()


def test_one_value_per_channel_cannot_be_trained_on():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    x = torch.randn(1, 4)
    assert rehearse(model, trace(model, x), {"0.weight": KEEP["a.weight"]}, x) == ("eval",)


def test_state_that_training_mode_moves_is_the_same_for_both():
    class Moving(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen += self.training
            return self.b(self.a(x).relu()) * (1 + self.seen)

    model, x = Moving(), torch.randn(2, 4)
    assert rehearse(model, trace(model, x), KEEP, x) == ("eval", "train")


def test_few_passes_on_few_examples():
    sizes = []
    model, x = randomised(Plain).float(), images(count=64).float()
    found = trace(model, x)
    model[0].register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    rehearse(model, found, drawn(found.groups), x)
    assert max(sizes) <= 4
    assert len(sizes) <= 6


def test_a_fixed_batch_is_compared_whole():
    model = Middle(lambda x, training: x.view(3, -1).relu())
    x = torch.randn(3, 4)
    found = trace(model, x)
    assert rehearse(model, found, KEEP, x) == ("eval", "train")


def test_all_is_as_found():
    model, x = randomised(Residual).train(), images()
    found = trace(model, x)
    model.register_forward_hook(lambda *args: None)
    before, python, numpy = snapshot(model), random.getstate(), np.random.get_state()[1].copy()
    rehearse(model, found, drawn(found.groups), x)
    with pytest.raises(PruningError, match="keep at least one"):
        rehearse(model, found, {"stem.weight": torch.zeros(6, dtype=torch.bool)}, x)
    assert_as_found(before, model)
    assert random.getstate() == python
    assert (np.random.get_state()[1] == numpy).all()


def test_inputs_made_in_inference_mode():
    model = Middle(relu)
    with torch.inference_mode():
        x = torch.randn(2, 4)
    assert rehearse(model, trace(model, x), KEEP, x) == ("eval", "train")
    assert remove(model, KEEP, example_inputs=x).a.out_features == 4


class Two(nn.Module):
    """A model of two inputs."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(3, 6), nn.Linear(2, 6), nn.Linear(6, 2)

    def forward(self, left, right):
        return self.head(torch.relu(self.a(left)) * torch.relu(self.b(right)))


@pytest.mark.parametrize("form", [tuple, list, lambda pair: {"right": pair[1], "left": pair[0]}])
@pytest.mark.parametrize("needs", [("gradient",), ("hessian_gradient", "fisher", "activations")])
def test_two_inputs_go_one_way_through_gather_channels_and_remove(form, needs):
    torch.manual_seed(0)
    model, pair, y = Two().double(), (torch.randn(5, 3).double(), torch.randn(5, 2).double()), torch.arange(5) % 2
    signals = gather(model, cross_entropy(), [(form(pair), y)], needs=needs)
    cross_entropy()(lambda inputs: model(*pair), (pair[0], y)).backward()
    torch.testing.assert_close(signals.gradient["a.weight"], model.a.weight.grad)
    layout = Channels().layout(signals)
    assert {name: group.size for name, group in layout.items()} == {"a.weight": 6}  # a product joins both
    masks = {"a.weight": torch.arange(6) < 4}
    assert rehearse(model, layout, masks, signals.example_inputs) == ("eval", "train")
    small = remove(model, UnitMasks(masks, layout), example_inputs=form(pair))
    assert (small.a.out_features, small.b.out_features, small.head.in_features) == (4, 4, 4)
    torch.testing.assert_close(small(*pair), zeroed(model, layout, masks)(*pair))
