"""Global magnitude at Kaiming-normal initial weights: the densities of all layers are known in closed form.

A weight of N(0, 2 / fan-in) is above a common threshold τ with probability 2 (1 - Φ(τ √(fan-in / 2))), and
Σ n_l density_l = ρ n gives τ. So one call checks the ranking over layers, the count and the report of layers.
"""

from __future__ import annotations

from math import prod, sqrt

import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import nn

import flowprune as fp
from flowprune.masks import weight_shapes

ARCHIVED = (0.883, 0.518, 0.516, 0.358, 0.357, 0.193, 0.193, 0.194, *[0.066] * 5, 0.542)
"""VGG16-BN, CIFAR-100, magnitude at 10 %: mean of 3 runs in the archive of SynFlow (arXiv 2006.05467)."""
CLOSED = (0.888, 0.515, 0.515, 0.358, 0.358, *[0.193] * 3, *[0.0658] * 5, 0.540)
"""The same by the closed form, to three digits."""


def densities_at(threshold, shapes):
    return {n: 2 * norm.sf(threshold * sqrt(prod(shape[1:]) / 2)) for n, shape in shapes.items()}


def solved(shapes, density):
    """The threshold and the densities of the layers at which the total is met."""
    sizes = {name: prod(shape) for name, shape in shapes.items()}

    def excess(threshold):
        kept = densities_at(threshold, shapes)
        return sum(kept[n] * size for n, size in sizes.items()) / sum(sizes.values()) - density

    threshold = brentq(excess, 0.0, 1.0, xtol=1e-12)
    return threshold, densities_at(threshold, shapes)


@pytest.fixture(scope="module")
def scores():
    model = fp.models.build("vgg16", num_classes=100, order="conv_bn_relu")
    generator = torch.Generator().manual_seed(0)
    for param in model.parameters():
        if param.dim() > 1:
            nn.init.kaiming_normal_(param, generator=generator)
    return fp.score("magnitude", fp.gather(model, None, (), needs=()))


def test_the_threshold_is_the_one_worked_out_by_hand(scores):
    threshold, closed = solved({name: tuple(score.shape) for name, score in scores.items()}, 0.1)
    assert threshold == pytest.approx(0.03833, abs=5e-6)
    assert list(closed.values()) == pytest.approx(CLOSED, abs=6e-4)


@pytest.mark.parametrize("density", [0.5, 0.1, 0.01])
def test_layers_are_as_dense_as_the_closed_form_says(scores, density):
    """Within four standard deviations of a count, sqrt(n p (1 - p)), in every layer; the total is exact."""
    masks = fp.select(scores, 1 - density)
    assert (masks.total, masks.kept) == (14_761_664, 14_761_664 - round((1 - density) * 14_761_664))
    _, closed = solved({name: tuple(score.shape) for name, score in scores.items()}, density)
    for name, count in masks.per_layer().items():
        p = closed[name]
        assert count.density == pytest.approx(p, abs=4 * sqrt(p * (1 - p) / count.total) + 1 / count.total), name


def test_they_are_the_archived_ones(scores):
    """Three digits of a mean of three: three standard errors of it and of this one draw, and the rounding."""
    layers = fp.select(scores, 0.9).per_layer()
    for (name, count), archived in zip(layers.items(), ARCHIVED, strict=True):
        spread = sqrt(count.density * (1 - count.density) / count.total * (1 + 1 / 3))
        assert count.density == pytest.approx(archived, abs=3 * spread + 0.0005), name


def test_the_shapes_are_those_of_the_archive():
    sizes = [prod(s) for s in weight_shapes(fp.models.build("vgg16", num_classes=100, width=1.0)).values()]
    assert sizes == [1728, 36864, 73728, 147456, 294912, *[589824] * 2, 1179648, *[2359296] * 5, 51200]
