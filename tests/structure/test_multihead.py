"""nn.MultiheadAttention keeps its width, and it is said why."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowprune.structure import remove, trace
from flowprune.structure.multihead import TIED
from tests.structure.comparing import drawn


class Attended(nn.Module):
    """Attention between layers: of a sequence to itself or to another, added to its queries or not."""

    def __init__(self, *, other=False, added=False, **kwargs):
        super().__init__()
        self.e, self.attention = nn.Linear(5, 8), nn.MultiheadAttention(8, 2, batch_first=True, **kwargs)
        self.f = nn.Linear(5, kwargs.get("kdim", 8)) if other else None
        self.g, self.head, self.added = nn.Linear(8, 6), nn.Linear(6, 3), added

    def forward(self, x):
        q = self.e(x)
        k = q if self.f is None else self.f(x)
        y, _ = self.attention(q, k, k, need_weights=False)
        return self.head(self.g(q + y if self.added else y).relu())


@pytest.mark.parametrize(
    ("kwargs", "offered", "whole"),
    [
        ({}, {"attention.out_proj.weight": 8, "g.weight": 6}, {"e.weight", "attention.in_proj_weight"}),
        ({"added": True}, {"g.weight": 6}, {"e.weight", "attention.in_proj_weight", "attention.out_proj.weight"}),
        ({"other": True}, {"attention.out_proj.weight": 8, "g.weight": 6}, {"e.weight", "f.weight"}),
        (
            {"other": True, "kdim": 7, "vdim": 7, "bias": False},
            {"f.weight": 7, "attention.out_proj.weight": 8, "g.weight": 6},
            {"e.weight", *(f"attention.{x}_proj_weight" for x in "qkv")},
        ),
    ],
)
def test_its_heads_stay_and_the_reason_is_its_own(kwargs, offered, whole):
    torch.manual_seed(0)
    model, x = Attended(**kwargs).double(), torch.randn(2, 4, 5).double()
    found = trace(model, x)
    assert {name: group.size for name, group in found.groups.items()} == offered
    assert {name for refusal in found.refusals if refusal.reason == TIED for name in refusal.weights} == whole
    assert not any("number" in r.reason and "scale" not in r.reason for r in found.refusals)
    remove(model, drawn(found.groups), example_inputs=x)


def test_an_encoder_names_it_for_every_layer():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=True)
    model = nn.Sequential(nn.Linear(5, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    found = trace(model, torch.randn(2, 4, 5))
    assert list(found.groups) == ["1.layers.0.linear1.weight", "1.layers.1.linear1.weight"]
    told = {name for refusal in found.refusals if refusal.reason == TIED for name in refusal.weights}
    assert {"1.layers.0.self_attn.in_proj_weight", "1.layers.1.self_attn.in_proj_weight"} <= told
