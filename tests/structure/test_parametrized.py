"""Weights that are computed: named as left whole, and no place for masks; and what masks make infinite."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from flowprune.core.errors import PruningError
from flowprune.structure import rehearse, remove, trace
from flowprune.structure.parametrized import COMPUTED

X = torch.randn(4, 5)


def test_each_computed_weight_is_a_refusal():
    model = nn.Sequential(weight_norm(nn.Linear(5, 6)), nn.ReLU(), spectral_norm(nn.Linear(6, 2)))
    found = trace(model, X)
    assert not found.groups
    assert [(r.operation, r.reason, r.weights) for r in found.refusals] == [
        ("WeightNorm", COMPUTED, ("0.weight",)),
        ("SpectralNorm", COMPUTED, ("2.weight",)),
    ]


@pytest.mark.parametrize("part", ["original0", "original1"])
def test_masks_of_what_a_weight_is_computed_from_are_refused(part):
    model = nn.Sequential(weight_norm(nn.Linear(5, 6)), nn.ReLU(), nn.Linear(6, 2))
    name = f"0.parametrizations.weight.{part}"
    with pytest.raises(PruningError, match=rf"'{name}' is what a parametrization computes '0\.weight' from"):
        remove(model, {name: torch.arange(6) < 4}, example_inputs=X)
    assert remove(model, {name: torch.ones(6, dtype=torch.bool)}, example_inputs=X)(X).isfinite().all()


class Normalised(nn.Module):
    """Rows of one half of the outputs have length one: a row of zeros has none."""

    def __init__(self):
        super().__init__()
        self.v, self.a = nn.Parameter(torch.randn(6, 5)), nn.Linear(5, 4)
        self.b = nn.Linear(4, 2)

    def forward(self, x):
        return functional.linear(x, self.v / self.v.norm(dim=1, keepdim=True)), self.b(self.a(x).relu())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nan_that_a_mask_makes_is_a_difference(dtype):
    """Both models have it, in the same places, beside numbers that agree."""
    model, x = Normalised().to(dtype), X.to(dtype)
    with pytest.raises(PruningError, match="must be finite where the model is; with channels of 'v' at zero"):
        remove(model, {"v": torch.arange(6) < 4}, example_inputs=x)


def test_nan_that_was_there_before_is_none():
    model = Normalised().double()
    with torch.no_grad():
        model.v[1] = 0
    x, masks = X.double(), {"a.weight": torch.arange(4) < 2}
    assert remove(model, masks, example_inputs=x).b.in_features == 2
    assert rehearse(model, trace(model, x), masks, x) == ("eval", "train")
