"""Attention heads as the only units: counted by heads, grouped queries together, refused where there are none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.errors import PruningError
from flowprune.signals import Signals
from tests.structure.comparing import assert_same, drawn, zeroed
from tests.structure.networks import GroupedQueries, VisionTransformer
from tests.structure.removable import Plain

IMAGES, TOKENS = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.randint(0, 16, (2, 7))


def layout_of(model, x, **arguments):
    return fp.Heads(example_inputs=x, **arguments).layout(fp.gather(model, None, (), needs=()))


@pytest.mark.parametrize(
    ("kind", "x", "expected"),
    [
        (VisionTransformer, IMAGES, {"attention.qkv.weight": 4}),
        (GroupedQueries, TOKENS, {"qkv.weight": 2}),
    ],
)
def test_a_unit_is_a_head_or_a_group_of_queries(kind, x, expected):
    model = kind().double().eval()
    layout = layout_of(model, x)
    assert {name: group.size for name, group in layout.items()} == expected
    masks = drawn(layout)
    assert_same(zeroed(model, layout, masks), fp.remove(model, masks, example_inputs=x), x)


def test_half_of_the_heads():
    model = VisionTransformer().double().eval()
    result = fp.prune(model, measure="magnitude", sparsity=0.5, granularity=fp.Heads(example_inputs=IMAGES))
    assert result.masks.total == 4
    assert result.model.attention.num_heads == 2
    assert result.model.attention.head_dim == 3
    assert result.model.mlp[0].out_features == 20


def test_the_inputs_of_the_signals_will_do():
    model = VisionTransformer().double().eval()
    batches = [(IMAGES, torch.tensor([0, 1]))]
    signals = fp.gather(model, fp.objectives.cross_entropy(), batches)
    assert list(fp.score("loss_preservation", signals, fp.Heads())) == ["attention.qkv.weight"]


def test_none_to_be_found():
    x = torch.randn(2, 3, 9, 9)
    with pytest.raises(PruningError, match=r"Heads\(\) must find attention heads.*there is none.*Channels\("):
        layout_of(Plain(), x)
    with pytest.raises(PruningError, match=r"all 1 layers that have some are skipped by \('attention\*',\)"):
        layout_of(VisionTransformer().double(), IMAGES, skip=("attention*",))
    fixed = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=6, batch_first=True)
    with pytest.raises(
        PruningError, match=r"there is none\. Left whole in this model: .*MultiheadAttention ties its width"
    ):
        layout_of(nn.Sequential(fixed, nn.Linear(8, 2)), torch.randn(2, 3, 8))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: fp.Heads(skip="a"), r"Heads\(skip=\) must be a tuple of patterns"),
        (
            lambda: layout_of(VisionTransformer().double(), IMAGES, skip=("nothing*",)),
            r"Heads\(skip=\) must be patterns",
        ),
        (lambda: layout_of(VisionTransformer(), None), r"Heads\(example_inputs=\) must be what the model is called"),
        (lambda: fp.Heads().layout(Signals(params={"a.weight": torch.ones(2, 2)})), "given signals of a model"),
    ],
)
def test_wrong_arguments(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong()
