"""Signals of a masked model are those of the network that trains: dead weights have no part in them."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.func import functional_call

import flowprune as fp
from flowprune.analysis import flow
from flowprune.masks import masks_of
from flowprune.objectives import cross_entropy
from flowprune.signals import gather
from tests.signals.networks import convolutional, flat, images, perceptron, points

BOTH = ("gradient", "hessian_gradient")
EVERY = (*BOTH, "fisher", "minibatch_fisher")


def at_random(model: nn.Module, share: float = 0.5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {n: torch.rand(p.shape, generator=generator) > share for n, p in model.named_parameters() if p.dim() > 1}


def live_alone(model: nn.Module, objective, batches):
    """Loss, theta, g and H g of the live weights as one vector: the same model, reparametrised."""
    whole = tuple(torch.cat(parts) for parts in zip(*batches, strict=True))
    params = {name: param.detach().clone() for name, param in model.named_parameters()}
    keep = {name: masks_of(model).get(name, torch.ones_like(p, dtype=torch.bool)) for name, p in params.items()}

    def loss(vector: torch.Tensor) -> torch.Tensor:
        parts = vector.split([int(mask.sum()) for mask in keep.values()])
        filled = {
            name: torch.zeros_like(params[name]).index_put(mask.nonzero(as_tuple=True), part)
            for (name, mask), part in zip(keep.items(), parts, strict=True)
        }
        return objective(lambda *args: functional_call(model, filled, args), whole)

    theta = torch.cat([params[name][mask] for name, mask in keep.items()])
    g = torch.func.grad(loss)(theta)
    return keep, theta, g, torch.func.hessian(loss)(theta) @ g


@pytest.mark.parametrize("make", ["perceptron", "convolutional"])
def test_derivatives_of_a_masked_model_are_those_of_its_live_weights_alone(make):
    model, batches = (perceptron(4, 6, 3), points()) if make == "perceptron" else (convolutional().eval(), images())
    fp.apply(model, at_random(model))
    keep, theta, g, hg = live_alone(model, cross_entropy(), batches)
    signals = gather(model, cross_entropy(), batches, needs=BOTH)
    for found, expected in ((signals.gradient, g), (signals.hessian_gradient, hg)):
        torch.testing.assert_close(torch.cat([found[name][mask] for name, mask in keep.items()]), expected)
        assert all(not found[name][~mask].any() for name, mask in keep.items())
    f = flow(signals)
    assert f.loss_velocity == pytest.approx(-float(g @ g))
    assert f.velocity == pytest.approx(-2 * float(theta @ g))
    assert f.acceleration == pytest.approx(2 * float(g @ g + theta @ hg))
    assert f.gradient_norm2_velocity == pytest.approx(-2 * float(g @ hg))


def test_no_signal_has_an_entry_where_a_mask_holds_a_zero():
    model, batches = perceptron(4, 6, 3), points()
    free = gather(model, cross_entropy(), batches, needs=EVERY)
    masks = at_random(model)
    masks["0.weight"][:] = True  # the first layer sees another loss, and all of its entries stay
    fp.apply(model, masks)
    held = gather(model, cross_entropy(), batches, needs=EVERY)
    assert any(bool(free.fisher[name][~mask].any()) for name, mask in masks.items())
    for need in EVERY:
        found = held.require(need)
        assert all(not found[name][~mask].any() for name, mask in masks.items()), need
        assert all(bool(found[name][mask].any()) for name, mask in masks.items()), need


def test_masked_channels_have_the_derivatives_of_the_model_without_them():
    model, batches = convolutional().eval(), images()
    model[2], model[5] = nn.Tanh(), nn.Tanh()  # with a slope at zero, so that a dead shift would have a gradient
    x = batches[0][0][:2]
    scores = fp.score("magnitude", gather(model, None, None, needs=()), fp.Channels(example_inputs=x))
    masks = fp.select(scores, 0.5, min_keep=1)
    small = fp.remove(model, masks, example_inputs=x).eval()
    fp.apply(model, masks)
    a, b = (flow(gather(m, cross_entropy(), batches, needs=BOTH)) for m in (model, small))
    assert a.loss == pytest.approx(b.loss)
    assert a.velocity == pytest.approx(b.velocity)
    assert a.acceleration == pytest.approx(b.acceleration)
    assert a.loss_velocity == pytest.approx(b.loss_velocity)
    assert a.gradient_norm2_velocity == pytest.approx(b.gradient_norm2_velocity)


@pytest.mark.parametrize("wrap", [nn.Sequential, deepcopy, lambda model: deepcopy(model).float()])
def test_masks_are_found_in_copies_and_in_larger_models(wrap):
    model, batches = perceptron(4, 6, 3), points()
    fp.apply(model, at_random(model))
    made = wrap(model)
    dtype = next(made.parameters()).dtype
    signals = gather(made, cross_entropy(), [(x.to(dtype), y) for x, y in batches], needs=BOTH)
    own = gather(model, cross_entropy(), batches, needs=BOTH)
    torch.testing.assert_close(flat(signals.hessian_gradient), flat(own.hessian_gradient).to(dtype))
    assert len(signals.masks) == len(own.masks) == 2


def test_a_released_model_has_all_its_derivatives_back():
    model, batches = perceptron(4, 6, 3), points()
    fp.apply(model, at_random(model))
    fp.release(model)
    signals = gather(model, cross_entropy(), batches)
    assert signals.masks == {}
    assert bool((signals.gradient["2.weight"] != 0).all())


def test_signals_know_what_was_held_when_they_were_gathered():
    model = perceptron(4, 6, 3)
    masks = at_random(model)
    fp.apply(model, {"0.weight": masks["0.weight"]})
    signals = gather(model, None, None, needs=())
    fp.release(model)
    assert list(signals.masks) == ["0.weight"]
    assert torch.equal(signals.masks["0.weight"], masks["0.weight"])


def test_a_dead_entry_whose_derivative_overflows_is_no_error():
    layer = nn.Linear(2, 1, bias=False)
    fp.apply(layer, {"weight": torch.tensor([[True, False]])})
    batch = torch.tensor([[1.0, float("1e30")]])

    def cube(forward, inputs):
        return forward(inputs).sum() + (layer.weight[0, 1] * 1e30) * 1e30

    assert torch.equal(gather(layer, cube, [batch]).gradient["weight"], torch.tensor([[1.0, 0.0]]))
