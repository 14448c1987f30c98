"""Tracing and removing leave the user's model, hooks and random numbers as they were, also when they fail."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from flowprune.core.errors import PruningError
from flowprune.structure import latency, measure_cost, remove, trace
from tests.structure.comparing import drawn, images, randomised
from tests.structure.removable import Perceptron, Residual, TrainingHead
from tests.structure.stubborn import Branching, WrittenSize


def snapshot(model):
    return {
        "state": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "objects": {name: id(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]},
        "grads": {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        "modes": [module.training for module in model.modules()],
        "hooks": [list(module._forward_hooks.values()) for module in model.modules()],
        "needs": [p.requires_grad for p in model.parameters()],
        "fastpath": torch.backends.mha.get_fastpath_enabled(),
        "threads": torch.get_num_threads(),
        "enabled": torch.is_grad_enabled(),
        "random": torch.get_rng_state(),
    }


def assert_as_found(before, model):
    after = snapshot(model)
    for key in ("objects", "modes", "hooks", "needs", "fastpath", "threads", "enabled"):
        assert after[key] == before[key], key
    assert torch.equal(after["random"], before["random"])
    for key in ("state", "grads"):
        for name, tensor in before[key].items():
            same = after[key][name] is None if tensor is None else torch.equal(tensor, after[key][name])
            assert same, (key, name)


@pytest.mark.parametrize("kind", [Residual, Perceptron, TrainingHead], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("training", [True, False])
def test_as_found(kind, training):
    model, x = randomised(kind), images()
    out = model(x)
    (out[0] if isinstance(out, tuple) else out).sum().backward()
    model.train(training)
    list(model.modules())[1].train(not training)
    next(model.parameters()).requires_grad_(False)
    model.register_forward_hook(lambda *args: None)
    before = snapshot(model)
    found = trace(model, x)
    assert_as_found(before, model)
    small = remove(model, drawn(found.groups), example_inputs=x)
    assert_as_found(before, model)
    measure_cost(model, x)
    latency(model, x, repeats=1, threads=1)
    assert_as_found(before, model)
    assert [module.training for module in small.modules()] == before["modes"]


def test_a_trace_does_not_run_the_users_hooks():
    model, seen = randomised(Residual), []
    for module in model.modules():
        module.register_forward_hook(lambda module, args, output: seen.append(output))
        module.register_forward_pre_hook(lambda module, args: seen.append(args))
    trace(model, images())
    assert seen == []


def test_hooks_of_pytorch_itself_run():
    """Old-style masks of torch.nn.utils.prune compute the weight in a hook: computed weights are refused."""
    from torch.nn.utils import prune

    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    with torch.no_grad():
        prune.l1_unstructured(model[0], "weight", 0.5)
    model[0].weight = model[0].weight.detach()
    found = trace(model, torch.randn(2, 3).double())
    assert set(found.groups) == {"2.weight"}
    assert found.refusals == () or found.refusals[0].operation == "aten.linear"


def test_as_found_after_an_exception():
    model, x = Branching().double().train(), images()
    model.b.eval()
    before = snapshot(model)
    with pytest.raises(PruningError):
        trace(model, x)
    assert_as_found(before, model)
    with pytest.raises(PruningError):
        remove(model, {"a.weight": torch.arange(6) > 1}, example_inputs=x)
    assert_as_found(before, model)


def test_as_found_after_a_rehearsal():
    model, x = WrittenSize(96).double(), images()
    before = snapshot(model)
    trace(model, x)
    assert_as_found(before, model)


def test_attributes_that_are_no_modules_do_no_harm():
    model, x = randomised(Residual), images()
    model._flowprune_masks = {"stem.weight": torch.ones(6, 3, 3, 3, dtype=torch.bool)}
    model.note = object()
    assert isinstance(remove(model, drawn(trace(model, x).groups), example_inputs=x), Residual)


def test_measuring_leaves_state_randomness_and_hooks_alone():
    """The user's hooks must not see passes that are no part of the training, nor may its randomness move."""

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(192, 4)
            self.register_buffer("calls", torch.zeros(()))
            self.passes = []

        def forward(self, x):
            self.calls += 1
            self.passes.append(random.random())
            return self.a(x.flatten(1)) + torch.rand(4) + float(np.random.rand())

    model, x, seen = Counting(), images().float(), []
    model.register_forward_hook(lambda *args: seen.append(args))
    model.register_forward_pre_hook(lambda *args: seen.append(args))
    for measure in (measure_cost, latency):
        before, python, numpy = snapshot(model), random.getstate(), np.random.get_state()[1].copy()
        measure(model, x)
        assert_as_found(before, model)
        assert random.getstate() == python
        assert (np.random.get_state()[1] == numpy).all()
    assert seen == model.passes == []


@pytest.mark.parametrize("function", [trace, measure_cost, latency, lambda m, x: remove(m, {}, example_inputs=x)])
def test_what_is_no_model_is_named(function):
    with pytest.raises(ValueError, match=r"\(model=\) must be an nn.Module; got 'Linear'"):
        function(nn.Linear, images())
    with pytest.raises(ValueError, match=r"\(model=\) must be initialised; got 'lazy 0.weight, 0.bias'"):
        function(nn.Sequential(nn.LazyLinear(2)), images())
