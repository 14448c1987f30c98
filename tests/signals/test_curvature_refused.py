"""What a curvature is refused for, and what once slipped through."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowprune.objectives import Objective, cross_entropy, mean_squared_error
from flowprune.signals import Curvature, gather
from flowprune.signals.fisher import squares_pass
from tests.reference.curvature import gauss_newton
from tests.signals.curved import Summed, flat, gathered, leading, pictures, two_layers
from tests.signals.networks import convolutional, images


def test_what_is_refused():
    model, batches = two_layers(), pictures()
    summed = Objective("sum", cross_entropy().per_example)
    object.__setattr__(summed, "__class__", Summed)
    cases = [
        (lambda: gathered(model, batches, curvature="gauss"), "no 'gauss'"),
        (lambda: gathered(model, batches, curvature=3), "one of ggn, fisher_mc"),
        (lambda: gathered(model, batches, mode="train"), "'eval' with a curvature"),
        (lambda: gather(model, cross_entropy(), batches, curvature="ggn"), "None where needs has no"),
        (lambda: gathered(model, batches, summed), "a mean over examples; got"),
        (lambda: gathered(model, batches, lambda f, b: functional.cross_entropy(f(b[0]), b[1])), "per_example"),
        (
            lambda: gathered(
                model, batches, lambda f, b: functional.cross_entropy(f(b[0]), b[1], reduction="sum"), "hutchinson"
            ),
            "a mean over examples",
        ),
        (lambda: Curvature("ggn", samples=2), "draws nothing"),
        (lambda: Curvature("hutchinson", samples=0), "a whole number >= 1"),
        (lambda: Curvature(memory="2 GB"), "a number with one of KiB"),
        (lambda: Curvature(memory=-1), "positive"),
    ]
    for ask, said in cases:
        with pytest.raises(ValueError, match=said):
            ask()


def test_losses_that_are_no_convex_function_of_the_outputs_are_refused():
    model, batches = two_layers(), pictures()
    concave = Objective("concave", lambda forward, batch: -forward(batch[0]).square().sum(1))
    with pytest.raises(ValueError, match="convex in the outputs"):
        gathered(model, batches, concave)
    decayed = Objective(
        "decayed", lambda forward, b: functional.cross_entropy(forward(b[0]), b[1], reduction="none") + decay(forward)
    )

    def decay(forward):
        return forward(torch.ones(1, 2, 6, 6).double()).square().sum()

    with pytest.raises(ValueError, match=r"calls forward once|a function of the outputs alone"):
        gathered(model, batches, decayed)


def test_too_many_outputs_are_refused_before_anything_is_begun():
    wide = nn.Linear(4, 20_000)
    calls = []
    wide.register_forward_hook(lambda *_: calls.append(1))
    batch = (torch.randn(3, 4), torch.randint(20_000, (3,)))
    with pytest.raises(ValueError, match=r"GiB, which one example takes with 20,000 outputs.*'fisher_mc' or") as error:
        gathered(wide, [batch])
    assert "memory=" in str(error.value)
    found = gathered(wide, [batch], curvature=Curvature("fisher_mc", samples=2, memory="64MiB"))
    assert found.curvature["weight"].shape == (20_000, 4)


def test_the_memory_given_sets_the_size_of_the_parts():
    model, batches = convolutional(torch.float32).eval(), images((40,), torch.float32)
    sizes = []
    model[0].register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    full = gathered(model, batches, curvature=Curvature(memory="1GiB"))
    most = max(sizes)
    sizes.clear()
    small = gathered(model, batches, curvature=Curvature(memory=33_700_000))
    assert max(sizes) < most == 40
    torch.testing.assert_close(flat(small.curvature), flat(full.curvature), rtol=1e-4, atol=1e-7)


def test_the_pass_takes_no_batch_mean():
    """Two equal examples in a batch have the diagonal of one; a squared mean gradient would be of another size."""
    model, (x, y) = two_layers().eval(), pictures((1,))[0]
    one = flat(gathered(model, [(x, y)]).curvature)
    two = flat(gathered(model, [(torch.cat([x, x]), torch.cat([y, y]))]).curvature)
    torch.testing.assert_close(one, two)
    params = dict(copy.deepcopy(model).named_parameters())
    assert squares_pass(model, cross_entropy().per_example, [leading([(x, y)])], params, most=1).sizes == [1]


class Twofold(nn.Module):
    """A weight that its layer uses, and the forward once more behind the layer's back."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x) + 3 * functional.linear(x, self.layer.weight)


@pytest.mark.parametrize("kind", ["ggn", "empirical"])
def test_examples_that_say_nothing_do_not_vouch_for_a_way(kind):
    """Of a blank example, or a fitted one, every gradient is zero, whichever way it is had."""
    torch.manual_seed(0)
    model, x = Twofold().double(), torch.randn(12, 3).double()
    blank = x.clone()
    blank[:2] = 0
    fitted = model(x).detach()
    fitted[2:] += 1
    for inputs, targets, objective in (
        (blank, torch.randint(2, (12,)), cross_entropy()),
        (x, fitted, mean_squared_error()),
    ):
        found = gathered(model, [(inputs, targets)], objective, kind)
        params, squares_ = list(model.parameters()), []
        for i in range(12):
            z = model(inputs[i : i + 1])
            if kind == "empirical":
                pulled = [torch.autograd.grad(objective(lambda *_, z=z: z, (None, targets[i : i + 1])), z)[0]]
            else:
                pulled = objective.output_curvature.columns(z.detach(), (None, targets[i : i + 1]))
            for v in pulled:
                z = model(inputs[i : i + 1])
                squares_.append(torch.cat([g.flatten() for g in torch.autograd.grad(z, params, v)]).square())
        torch.testing.assert_close(flat(found.curvature), torch.stack(squares_).sum(0) / 12)


def test_half_precision_does_not_underflow():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.02)
    x, y = torch.randn(16, 8), torch.randint(3, (16,))
    exact = gathered(model, [(x, y)]).curvature
    half = gathered(copy.deepcopy(model).half(), [(x.half(), y)]).curvature
    assert half["0.weight"].dtype == torch.float32
    torch.testing.assert_close(half["0.weight"], exact["0.weight"], rtol=0.05, atol=1e-9)


def test_a_loss_of_your_own_may_be_nearly_zero():
    torch.manual_seed(0)
    model = nn.Linear(4, 5)
    with torch.no_grad():
        model.weight.mul_(40)
    x = torch.randn(20, 4)
    y = model(x).argmax(1)
    own = Objective("own", lambda f, b: functional.cross_entropy(f(b[0]), b[1], reduction="none"))
    found = gathered(model, [(x, y)], own).curvature["weight"]
    torch.testing.assert_close(found, gathered(model, [(x, y)]).curvature["weight"], rtol=1e-3, atol=1e-7)


def test_outputs_of_any_layout():
    model = nn.Sequential(nn.Linear(3, 4), Transposed()).double()
    x, y = torch.randn(5, 2, 3).double(), torch.randn(5, 4, 2).double()
    found = flat(gathered(model, [(x, y)], mean_squared_error()).curvature)
    exact = gauss_newton(model, lambda z, t: (z - t.flatten()).square().mean(), x, y).diagonal()
    torch.testing.assert_close(found, exact)


class Transposed(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


@pytest.mark.parametrize("kind", ["empirical", "ggn"])
def test_a_sum_is_noticed_behind_a_first_batch_of_one(kind):
    model, ((x, y), *_) = two_layers(), pictures((6,))
    summed = Summed("sum", cross_entropy().per_example)
    with pytest.raises(ValueError, match="a mean over examples; got"):
        gathered(model, [(x[:1], y[:1]), (x[1:], y[1:])], summed, kind)


def test_parts_are_sized_anew_for_other_shapes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 3))
    sizes = []
    model[0].register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    batches = [(torch.randn(8, n, 4), torch.randint(3, (8, n))) for n in (1, 30)]
    asked = Curvature("fisher_mc", memory=33_900_000)
    gathered(model, batches, curvature=asked)
    assert 8 in sizes
    assert sizes[-1] < 8


@pytest.mark.parametrize("memory", [2e9, None, True])
def test_memory_is_a_whole_number_or_words(memory):
    with pytest.raises(ValueError, match="a whole number of bytes"):
        Curvature(memory=memory)
