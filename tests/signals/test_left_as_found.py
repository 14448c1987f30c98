"""The contract: gathering leaves everything as it was, also when it fails."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from flowprune.objectives import cross_entropy
from flowprune.signals import NEEDS, gather
from flowprune.signals.as_found import as_found
from flowprune.signals.curvature import KINDS, Curvature
from tests.signals.networks import Attention, assert_same, convolutional, images, points, sentences, snapshot


class Breaks(nn.Module):
    """Raises at the n-th call."""

    def __init__(self, at):
        super().__init__()
        self.at, self.calls = at, 0

    def forward(self, x):
        self.calls += 1
        if self.calls == self.at:
            raise KeyError("broken on purpose")
        return x


def used(model):
    """With gradients, mixed modes and a user's hook, as in the middle of training."""
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    model.train()
    next(model.children()).eval()
    next(model.children()).register_forward_hook(lambda module, args, output: None)
    return model


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("need", [n for n in NEEDS if n not in ("fisher", "curvature")])
def test_gather_leaves_the_model_as_found(need, mode):
    model = used(nn.Sequential(*convolutional(), nn.Dropout(0.3)))
    batches, before = images(), snapshot(model)
    gather(model, cross_entropy(), batches, needs=(need,), mode=mode)
    assert_same(before, snapshot(model))


@pytest.mark.parametrize("kind", KINDS)
def test_gather_of_a_curvature_leaves_the_model_as_found(kind):
    model = used(nn.Sequential(*convolutional(), nn.Dropout(0.3)))
    batches, before = images(), snapshot(model)
    gather(model, cross_entropy(), batches, needs=("gradient", "curvature"), curvature=kind)
    assert_same(before, snapshot(model))
    with pytest.raises(ValueError, match="at least"):
        gather(model, cross_entropy(), batches, needs="curvature", curvature=Curvature("ggn", memory=1))
    assert_same(before, snapshot(model))


def test_gather_of_the_fisher_leaves_the_model_as_found():
    model = used(convolutional())
    batches, before = images(), snapshot(model)
    gather(model, cross_entropy(), batches, needs=("fisher",))
    assert_same(before, snapshot(model))
    with pytest.raises(RuntimeError, match="batch statistics"):
        gather(model, cross_entropy(), batches, needs=("fisher",), mode="train")
    assert_same(before, snapshot(model))


def test_attention_is_left_as_found():
    model = used(Attention().double())
    batches, before = sentences(), snapshot(model)
    gather(model, cross_entropy(), batches, needs=NEEDS)
    assert_same(before, snapshot(model))


@pytest.mark.parametrize("needs", [("gradient",), ("hessian_gradient",), ("activations",), NEEDS])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_exception_leaves_the_model_as_found(needs, at):
    model = used(nn.Sequential(*convolutional(), Breaks(at)))
    batches, before = images(), snapshot(model)
    with pytest.raises(KeyError, match="broken on purpose"):
        gather(model, cross_entropy(), batches, needs=needs)
    assert_same(before, snapshot(model))


@pytest.mark.parametrize(
    ("needs", "at"), [("hessian_gradient", 4), ("hessian_gradient", 6), ("fisher", 1), ("fisher", 4), ("fisher", 6)]
)
def test_an_exception_in_a_later_pass_leaves_the_model_as_found(needs, at):
    model = used(nn.Sequential(*convolutional(), Breaks(at)))
    batches, before = images(), snapshot(model)
    with pytest.raises(KeyError, match="broken on purpose"):
        gather(model, cross_entropy(), batches, needs=(needs,))
    assert_same(before, snapshot(model))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_an_objective_that_raises_leaves_the_model_as_found(mode):
    model = used(convolutional())
    batches, before = images(), snapshot(model)

    def objective(forward, batch):
        forward(batch[0])
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"):
        gather(model, objective, batches, needs=("hessian_gradient",), mode=mode)
    assert_same(before, snapshot(model))


def test_a_loader_that_raises_leaves_the_model_as_found():
    model = used(convolutional())
    batches, before = images(), snapshot(model)

    def loader():
        torch.rand(3)
        yield batches[0]
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        gather(model, cross_entropy(), loader())
    assert_same(before, snapshot(model))


def test_buffers_that_a_forward_replaces_are_put_back():
    class Replaces(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x):
            self.seen = self.seen + 1
            self.register_buffer("late", torch.ones(1))
            return self.linear(x)

    model = Replaces()
    seen = model.seen
    gather(model, cross_entropy(), [(torch.ones(2, 2), torch.tensor([0, 1]))])
    assert model.seen is seen
    assert model.seen == 0
    assert set(dict(model.named_buffers())) == {"seen"}


def test_other_generators_are_put_back():
    class Draws(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (1 + random.random() + np.random.rand())

    states = random.getstate(), np.random.get_state()[1].copy()
    gather(Draws(2, 2), cross_entropy(), [(torch.ones(2, 2), torch.tensor([0, 1]))], needs=("hessian_gradient",))
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()


def test_a_graph_of_the_users_survives():
    model, (x, y) = convolutional().train(), images((4,))[0]
    loss = cross_entropy()(model, (x, y))
    gather(model, cross_entropy(), [(x, y)], needs=("hessian_gradient",))
    gather(model, cross_entropy(), [(x, y)], mode="train")
    loss.backward()
    assert model[0].weight.grad is not None


def test_train_does_not_unfreeze_norms_of_a_model_in_training():
    model = convolutional().train()
    model[1].eval()
    with as_found(model, "train"):
        assert not model[1].training
    model.eval()
    with as_found(model, "train"):
        assert model[1].training


def test_user_hooks_still_run():
    # RT-14
    model, calls = convolutional(), []
    model[0].register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    gather(model, cross_entropy(), images(), needs=("gradient",))
    assert calls == [4, 4, 3]


@pytest.mark.parametrize("need", NEEDS)
def test_a_module_under_two_names_keeps_its_own_parameters(need):
    """``torch.func.functional_call`` would leave its own tensors in it."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(4, 3)).double()
    own = dict(model.named_parameters())
    gather(model, cross_entropy(), points(), needs=(need,))
    assert all(parameter is own[name] for name, parameter in model.named_parameters())
