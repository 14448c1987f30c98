"""Channels of every model can be removed: nothing is refused, and the smaller model is the masked one."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from flowprune.models import MODELS, build_for
from flowprune.structure import remove, trace
from tests.structure.comparing import UnitMasks, assert_same, drawn, images, randomised, zeroed

IMAGE = (3, 32, 32)
VARIANTS = [
    *((name, {}) for name in MODELS),
    ("vgg16", {"order": "conv_bn_relu"}),
    ("vgg13", {"order": "conv_relu"}),
    ("preact_resnet18", {"stem": "tiny_imagenet"}),
    ("mlp", {"activation": "tanh", "bias": False}),
]
every_variant = pytest.mark.parametrize(
    ("name", "options"), VARIANTS, ids=[" ".join([name, *map(str, options.values())]) for name, options in VARIANTS]
)
THIN, WIDE = (2, 4, 8), (8, 16, 32, 64)
"""Stages of the residual networks at an eighth of their width."""
BLOCKS = {
    "preact_resnet18": (WIDE, (2, 2, 2, 2)),
    "resnet18": (WIDE, (2, 2, 2, 2)),
    "resnet20": (THIN, (3, 3, 3)),
    "resnet32": (THIN, (5, 5, 5)),
    "resnet34": (WIDE, (3, 4, 6, 3)),
    "resnet56": (THIN, (9, 9, 9)),
    "resnet110": (THIN, (18, 18, 18)),
}


@cache
def traced(name, **options):
    """A model at an eighth of its width, in double precision, its norms used; and what a trace finds in it."""
    model = randomised(lambda: build_for(name, IMAGE, num_classes=4, width=0.125, **options), image=IMAGE)
    return model, trace(model, images(image=IMAGE))


@every_variant
def test_nothing_is_refused_and_all_but_the_logits_can_go(name, options):
    model, found = traced(name, **options)
    assert found.refusals == ()
    assert found.unused == ()
    grouped = {member.name for group in found.groups.values() for member in group.members if member.role == "weight"}
    *inner, last = [n for n, p in model.named_parameters() if p.dim() > 1]
    assert grouped == set(inner)
    assert last not in grouped


@pytest.mark.parametrize("name", BLOCKS)
def test_a_residual_stage_is_one_group_and_each_block_another(name):
    """What is added up goes together; what a block makes for itself goes alone."""
    widths, blocks = BLOCKS[name]
    found = traced(name)[1].groups
    streams = {"stem.weight": widths[0]} | {f"stages.{i}.0.conv2.weight": widths[i] for i in range(1, len(widths))}
    alone = {f"stages.{i}.{j}.conv1.weight": widths[i] for i in range(len(widths)) for j in range(blocks[i])}
    assert {key: group.size for key, group in found.items()} == streams | alone


@every_variant
def test_small_is_masked_in_both_modes(name, options):
    (model, found), x = traced(name, **options), images(image=IMAGE, count=4)
    layout = found.groups
    masks = drawn(layout, seed=1, density=0.6)
    small = remove(model, masks, example_inputs=x)
    assert type(small) is type(model)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    assert_same(zeroed(model, layout, masks), small, images(7, count=4, image=IMAGE))


@every_variant
def test_one_unit_left_of_everything(name, options):
    (model, found), x = traced(name, **options), images(image=IMAGE, count=4)
    layout = found.groups
    masks = UnitMasks({key: torch.arange(group.size) == 0 for key, group in layout.items()}, layout)
    assert_same(zeroed(model, layout, masks), remove(model, masks, example_inputs=x), x)
