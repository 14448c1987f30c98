"""Laws of removal on random networks."""

from __future__ import annotations

import copy

import pytest
import torch

import flowprune as fp
from flowprune.structure import remove, trace
from tests.structure.comparing import assert_same, drawn, zeroed
from tests.structure.generated import generated

SEEDS = range(24)
every = pytest.mark.parametrize("seed", SEEDS)


@every
def test_removal_is_masking(seed):
    model, x = generated(seed)
    layout = trace(model, x).groups
    for number in range(3):
        masks = drawn(layout, number, density=0.25 * (number + 1))
        small = remove(model, masks, example_inputs=x, verify=False)
        assert_same(zeroed(model, layout, masks), small, x, tolerance=1e-8)


@every
def test_what_is_left_is_found_again(seed):
    model, x = generated(seed)
    masks = drawn(trace(model, x).groups, seed, density=0.8)
    small = remove(model, masks, example_inputs=x)
    left = {name: group.size for name, group in trace(small, x).groups.items()}
    assert all(left.get(name, 1) == int(mask.sum()) for name, mask in masks.items())


@every
def test_a_plan_gives_the_same_again(seed, tmp_path):
    model, x = generated(seed)
    small = remove(model, drawn(trace(model, x).groups, seed), example_inputs=x)
    fp.save(small, tmp_path)
    fresh = copy.deepcopy(model)
    with torch.no_grad():
        for param in fresh.parameters():
            param.normal_()
    again = fp.load(fresh, tmp_path)
    assert torch.equal(again.eval()(x), small.eval()(x))


def test_channels_are_offered():
    """The generator makes networks that can be pruned."""
    assert sum(len(trace(*generated(seed)).groups) for seed in SEEDS) >= 3 * len(SEEDS)
