"""Patches and second moments of what layers read."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowprune.signals import patches as patching
from flowprune.signals.layer_inputs import calls, input_moments, moments_after
from flowprune.signals.patches import outputs_of, patches

LAYERS = [
    (nn.Linear(5, 4), (3, 7, 5)),
    (nn.Conv1d(4, 6, 3, groups=2, padding="same", dilation=2), (3, 4, 9)),
    (nn.Conv2d(3, 4, (3, 2), stride=(1, 2), padding=1, padding_mode="replicate"), (5, 3, 6, 7)),
    (nn.Conv2d(3, 4, 2), (3, 6, 7)),
    (nn.Conv3d(1, 2, 2, padding=1, bias=False), (2, 1, 3, 4, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
@pytest.mark.parametrize("most", [1, 1 << 26])
def test_weights_times_patches_are_the_outputs(layer, shape, most, monkeypatch):
    monkeypatch.setattr(patching, "PATCH_BYTES", most)
    x, groups = torch.randn(shape), getattr(layer, "groups", 1)
    rows = torch.cat(list(patches(layer, x)), 1)
    weights = layer.weight.detach().double().flatten(1).unflatten(0, (groups, -1))
    torch.testing.assert_close(rows @ weights.mT, outputs_of(layer, x, bias=False).detach())
    found = outputs_of(layer, x, bias=True).detach().float()
    given = layer(x).detach()
    if isinstance(layer, nn.Linear):
        expected = given.reshape(1, -1, 4)
    else:
        given = given if given.ndim == layer.weight.ndim else given.unsqueeze(0)
        expected = given.flatten(2).unflatten(1, (groups, -1)).permute(1, 0, 3, 2).reshape(found.shape)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class Named(nn.Module):
    """A layer called by keyword, behind one that works in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 2)
        self.passes = 0

    def forward(self, x):
        h = torch.relu_(self.first(x))
        found = self.second(input=h)
        h.zero_()
        self.passes += 1
        return found


def test_moments_are_of_the_inputs_as_they_were_read():
    model, x = Named(), torch.randn(20, 3)
    h = torch.relu(model.first(x)).detach().double()
    layers = {"second": model.second}
    found = input_moments(model, [x[:5], x[5:]], layers, constant={"second": False}, where="here")["second"]
    torch.testing.assert_close(found.second[0], h.mT @ h / 20, rtol=1e-5, atol=1e-6)
    assert calls(model, [x], {"second": model.second, "first": model.first}, where="here") == {"first": 1, "second": 1}


def test_targets_are_of_the_model_as_it_is_and_inputs_of_the_other():
    model, x = Named(), torch.randn(20, 3)
    other = {"first.weight": model.first.weight.detach() * torch.tensor([[1.0], [0.0], [1.0]])}
    dense = torch.relu(model.first(x)).detach().double()
    cut = torch.relu(nn.functional.linear(x, other["first.weight"], model.first.bias)).detach().double()
    y = dense @ model.second.weight.detach().double().mT + model.second.bias.detach().double()
    rows = torch.cat([cut, torch.ones(20, 1).double()], 1)
    model.passes = 0
    found = moments_after(model, [x], model.second, other, constant=True, where="here")
    assert (model.passes, found.same) == (0, False)  # they end where the layer is reached
    for value, expected in (
        (found.second[0], rows.mT @ rows / 20),
        (found.cross[0], rows.mT @ y / 20),
        (found.square[0], y.square().mean(0)),
    ):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    assert moments_after(model, [x], model.first, other, constant=True, where="here").same


def test_random_numbers_are_the_same_in_both():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return self.layer(x + torch.randn_like(x))

    model, state = Noisy(), torch.get_rng_state()
    other = {"layer.weight": torch.zeros(2, 3)}
    assert moments_after(model, [torch.zeros(4, 3)], model.layer, other, constant=True, where="here").same
    assert torch.equal(state, torch.get_rng_state())
