"""Stable ResNets: the factor of the branches, and how the signal grows with depth with and without it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.models.residual import BasicBlock, residual_stages, stabilize_

RESIDUAL = ["resnet18", "resnet20", "resnet32", "resnet34", "resnet56", "resnet110", "preact_resnet18"]


@pytest.mark.parametrize("name", RESIDUAL)
def test_the_factor_counts_all_blocks(name):
    plain, stable = (fp.models.build(name, num_classes=4, width=0.125, stable=s) for s in (False, True))
    blocks = [block for stage in stable.stages for block in stage]
    assert {block.factor for block in blocks} == {len(blocks) ** -0.5}
    assert {block.factor for stage in plain.stages for block in stage} == {1.0}
    assert plain.state_dict().keys() == stable.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), stable.parameters(), strict=True))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_branch_is_scaled_in_both_modes_and_in_a_program(mode):
    block, x = BasicBlock(4, 4, 1), torch.randn(2, 4, 5, 5)
    block.train(mode == "train")
    residual = block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(x)))))
    block.factor = 0.25
    expected = torch.relu(0.25 * residual + x)
    torch.testing.assert_close(block(x), expected)
    if mode == "eval":
        torch.testing.assert_close(torch.export.export(block, (x,)).module()(x), expected)


class Wide(nn.Module):
    """One step of a residual network of wide layers: y + factor · W relu(y)."""

    def __init__(self, in_channels, width, stride):
        super().__init__()
        self.factor, self.layer = 1.0, nn.Linear(in_channels, width, bias=False)

    def forward(self, y):
        return y + self.factor * self.layer(torch.relu(y))


@pytest.mark.parametrize("depth", [10, 30])
def test_the_signal_grows_by_e_and_not_by_two_to_the_depth(depth):
    """RP-8: within 10 % of (1 + 1 / L)^L; without the factor about 2^L. The mean over networks."""
    grown = {True: 0.0, False: 0.0}
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(16, 400, generator=generator)
        for stable in grown:
            stages = residual_stages(Wide, [(400, depth)])
            if stable:
                stabilize_(stages)
            with torch.no_grad():
                for param in stages.parameters():
                    param.normal_(0, (2 / 400) ** 0.5, generator=generator)
                grown[stable] += float(stages(x).square().mean() / x.square().mean()) / 8
    assert grown[True] == pytest.approx((1 + 1 / depth) ** depth, rel=0.1)
    assert 0.5 < grown[False] / 2**depth < 2


def test_a_stable_network_is_pruned_like_any_other():
    model, x = fp.models.build("resnet20", stable=True, width=0.5), torch.randn(2, 3, 16, 16)
    result = fp.prune(model, measure="magnitude", sparsity=0.5, granularity=fp.Channels(example_inputs=x))
    assert {block.factor for stage in result.model.stages for block in stage} == {9**-0.5}
    assert "same function" in result.checks
