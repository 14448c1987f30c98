"""How many examples go through a model at a time, and that it changes nothing but the time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowprune.models import build
from flowprune.objectives import cross_entropy
from flowprune.signals import gather
from flowprune.signals.batches import Counted
from flowprune.signals.parts import LEAST, LEAST_TWICE, ROOM, at_a_time


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3)).eval()


def batch_of(n, *shape, classes=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, *shape, generator=generator), torch.randint(0, classes, (n,), generator=generator)


def asked(model, batch, micro_batch=None, *, twice=False):
    params = dict(model.named_parameters())
    return at_a_time(micro_batch, model, cross_entropy(), params, Counted(0, batch, len(batch[0])), twice=twice)


def test_examples_that_take_little_go_through_together():
    assert asked(perceptron(), batch_of(1000, 20)) > 1000
    assert asked(perceptron(), batch_of(1000, 20), twice=True) > 1000


def test_examples_that_take_much_go_through_a_few_at_a_time():
    model, batch = build("resnet20", num_classes=10).eval(), batch_of(70, 3, 32, 32, classes=10)
    assert (asked(model, batch), asked(model, batch, twice=True)) == (LEAST, LEAST_TWICE)
    small = batch_of(70, 3, 8, 8, classes=10)
    assert LEAST < asked(model, small) < ROOM / (8 * 8 * 16 * 4)


def test_what_was_asked_for_is_done():
    for n in (1, 7, 5000):
        assert asked(perceptron(), batch_of(1000, 20), n) == asked(perceptron(), batch_of(1000, 20), n, twice=True) == n


def test_nothing_is_drawn_to_find_it_out():
    model = perceptron()
    before = torch.get_rng_state()
    asked(model, batch_of(1000, 20))
    assert torch.equal(before, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("need", ["hessian_gradient", "fisher", "curvature"])
def test_it_changes_nothing_else(need):
    model, batches = perceptron().double(), [(x.double(), y) for x, y in (batch_of(300, 20), batch_of(77, 20))]
    found = [getattr(gather(model, cross_entropy(), batches, needs=(need,), micro_batch=m), need) for m in (None, 1, 9)]
    for other in found[1:]:
        for name, value in found[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-10, atol=1e-14)
