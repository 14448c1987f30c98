"""Moments of outputs, and the running mean behind gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowprune.objectives import cross_entropy
from flowprune.signals import gather
from flowprune.signals.activations import recorded
from flowprune.signals.mean import Mean
from tests.signals.networks import Attention, convolutional, images, sentences, whole


@pytest.mark.parametrize("needs", [("activations",), ("activations", "gradient"), ("activations", "hessian_gradient")])
def test_moments_are_over_examples_and_positions(needs):
    model, batches = convolutional().eval(), images()
    found = gather(model, cross_entropy(), batches, needs=needs)
    out = model[0](whole(batches)[0])
    torch.testing.assert_close(found.activations["0"].mean, out.mean((0, 2, 3)))
    torch.testing.assert_close(found.activations["0"].mean_square, out.square().mean((0, 2, 3)))
    torch.testing.assert_close(found.activations["0"].variance, out.var((0, 2, 3), correction=0))
    assert set(found.activations) == {str(index) for index in range(9)}
    assert found.loss == pytest.approx(cross_entropy()(model, whole(batches)).item())


def test_channels_are_last_in_sequences():
    model = Attention()
    found = gather(model, cross_entropy(), sentences(), needs=("activations",)).activations
    assert found["qkv"].mean.shape == (24,)
    assert found["embed"].mean.shape == (8,)


def test_outputs_without_channels_are_left_out():
    class Counts(nn.Module):
        def forward(self, x):
            return x.argmax(1)

    class Model(nn.Sequential):
        def forward(self, x):
            self.counts(x)
            return self.linear(x)

    model = Model()
    model.add_module("counts", Counts())
    model.add_module("linear", nn.Linear(2, 2))
    found = gather(model, cross_entropy(), [(torch.ones(2, 2), torch.tensor([0, 1]))], needs=("activations",))
    assert set(found.activations) == {"linear"}


def test_a_mean_of_expanded_tensors_does_not_write_to_them():
    ones = torch.ones(1).expand(3)
    mean = Mean()
    mean.add([ones], 2)
    mean.add([ones * 4], 1)
    assert torch.equal(mean.result()[0], torch.full((3,), 2.0))
    assert torch.equal(ones, torch.ones(3))


def test_squares_of_half_precision_do_not_overflow():
    model = nn.Sequential(nn.Identity())
    x = torch.tensor([[300.0, 1.0], [500.0, 3.0]])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        with recorded(model) as moments:
            model(x.to(dtype))
            model(x.to(dtype)[:, :, None, None])
        found = moments()["0"]
        assert found.mean_square.dtype == torch.promote_types(dtype, torch.float32)
        torch.testing.assert_close(found.mean_square, x.to(dtype).to(found.mean.dtype).square().mean(0))


def test_moments_come_to_the_cpu_once():
    copies = []

    class Counting(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if "_to_copy" in str(func) and torch.device((kwargs or {}).get("device") or "meta").type == "cpu":
                copies.append(func)
            return out

    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).to("meta")
    with recorded(model), Counting():
        for _ in range(5):
            model(torch.ones(2, 3, device="meta"))
    assert copies == []
