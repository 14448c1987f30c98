"""A remembered trace is used only for the very model that was traced, and verified even then."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowprune.core.errors import PruningError
from flowprune.signals import Signals
from flowprune.structure import Channels, remove, trace

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
NOW = SimpleNamespace(act=torch.relu)
MASKS = {"a.weight": torch.arange(6) < 4}


class Acting(nn.Module):
    """Two layers, and something between them that is no module."""

    def __init__(self, act):
        super().__init__()
        self.a, self.b, self.act = nn.Linear(4, 6), nn.Linear(6, 2), act

    def forward(self, x):
        act = self.act
        while isinstance(act, (tuple, list)):
            act = act[0]
        act = act.get("act") if isinstance(act, dict) else getattr(act, "held", act)
        return self.b(getattr(torch, act)(self.a(x)) if isinstance(act, str) else act(self.a(x)))


def scaled(factor):
    return lambda x: x * factor if factor else x.cos()


@pytest.mark.parametrize(
    ("relu", "sigmoid"),
    [
        (torch.relu, torch.sigmoid),
        (lambda x: x.relu(), lambda x: x.sigmoid()),
        (
            partial(functional.threshold, threshold=0.0, value=0.0),
            partial(functional.threshold, threshold=0.0, value=1.0),
        ),
        ((torch.relu,), (torch.sigmoid,)),
        ([torch.relu], [torch.sigmoid]),
        (["relu"], ["sigmoid"]),
        ({"act": "relu"}, {"act": "sigmoid"}),
        (SimpleNamespace(held=torch.relu), SimpleNamespace(held=torch.sigmoid)),
        (scaled(2.0), scaled(0.0)),
    ],
    ids=["builtin", "lambda", "partial", "tuple", "list", "list of str", "dict", "object", "closure"],
)
def test_what_a_module_holds_is_part_of_what_was_traced(relu, sigmoid):
    model = Acting(relu).double()
    assert list(trace(model, X).groups) == ["a.weight"]
    model.act = sigmoid
    signals = Signals(params={name: p.detach() for name, p in model.named_parameters()}, model=model)
    assert list(Channels(X).layout(signals)) == []
    model.act = relu
    assert list(trace(model, X).groups) == ["a.weight"]
    model.act = sigmoid
    with pytest.raises(ValueError, match=r"remove\(example_inputs=\)"):
        remove(model, MASKS)


def test_a_forward_of_ones_own_is_part_of_it_too():
    model = Acting(torch.relu).double()
    trace(model, X)
    model.forward = lambda x: model.b(model.a(x).sigmoid())
    assert list(trace(model, X).groups) == []


def test_a_function_at_the_address_of_one_that_is_gone_is_another():
    model = Acting(torch.relu).double()
    for _ in range(5):
        model.act = eval("lambda x: x.relu()")
        assert list(trace(model, X).groups) == ["a.weight"]
        model.act = None
        gc.collect()
        model.act = eval("lambda x: x.exp()")
        assert list(trace(model, X).groups) == []
        model.act = None
        gc.collect()


def test_a_forward_in_many_wrappers_is_one_and_the_same():
    def wrapped(function, depth):
        def inner(*args):
            return function(*args)

        return wrapped(inner, depth - 1) if depth else inner

    kind = type("Wrapped", (nn.Sequential,), {"forward": wrapped(nn.Sequential.forward, 6)})
    model, x = kind(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.ones(2, 3)
    assert trace(model, x) is trace(model, x)


def test_what_cannot_be_seen_is_caught_by_the_inputs_kept_with_the_trace():
    class Hidden(Acting):
        def forward(self, x):
            return self.b(NOW.act(self.a(x)))

    model = Hidden(None).double()
    trace(model, X)
    assert remove(model, MASKS).a.out_features == 4
    with (
        mock.patch.object(NOW, "act", torch.sigmoid),
        pytest.raises(PruningError, match="must compute what the masked one computes in eval mode"),
    ):
        remove(model, MASKS)


def test_the_inputs_kept_are_two_copies():
    from flowprune.structure.memory import recall

    model, x = Acting(torch.relu).double(), X.clone()
    trace(model, x)
    kept = recall(model).example.tensors[0]
    assert kept.untyped_storage().nbytes() == 2 * 4 * 8
    x.fill_(float("nan"))
    assert remove(model, MASKS).a.out_features == 4


def test_a_trace_does_not_keep_its_model_alive():
    model = Acting(None)
    model.act = model.a.forward  # a bound method, which holds the model's own part
    model.act = lambda x, held=model: x.relu()
    trace(model, X.float())
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
