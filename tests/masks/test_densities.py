"""Layer densities from shapes: exact totals, the published rules, and what cannot be."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.masks import (
    DENSITIES,
    Allocation,
    erdos_renyi,
    erdos_renyi_kernel,
    uniform,
    uniform_plus,
    weight_shapes,
)

SMALL = {"conv1": (4, 1, 3, 3), "conv2": (20, 4, 3, 3), "fc": (10, 20)}
RESNET20 = weight_shapes(fp.models.build("resnet20"))
WIDTHS = (64, 64, 128, 128, 256, 256, 256, *[512] * 6)
VGG16 = {f"c{i}": (b, a, 3, 3) for i, (a, b) in enumerate(zip((3, *WIDTHS), WIDTHS, strict=False))} | {"fc": (10, 512)}
NETWORKS = {"small": SMALL, "resnet20": RESNET20, "vgg16": VGG16}


def kept(allocation):
    return {name: count.kept for name, count in allocation.per_layer().items()}


def literal(shapes, density, raw):
    """The published loop: solve for epsilon, set layers above one dense, and again without them."""
    total, dense = density * sum(map(prod, shapes.values())), set()
    while True:
        rest = total - sum(prod(shapes[name]) for name in dense)
        epsilon = rest / sum(raw(shape) * prod(shape) for name, shape in shapes.items() if name not in dense)
        over = {name for name, shape in shapes.items() if name not in dense and epsilon * raw(shape) > 1}
        if not over:
            return {name: 1.0 if name in dense else epsilon * raw(shape) for name, shape in shapes.items()}
        dense |= over


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rule", DENSITIES)
def test_totals_are_exact_and_so_is_every_sparsity(network, rule):
    """RT-2, RT-18."""
    shapes = NETWORKS[network]
    total = sum(map(prod, shapes.values()))
    for density in (0.15, 0.2, 1 / 3, 0.5, 0.999, 1.0):
        found = DENSITIES[rule](shapes, density)
        assert (found.kept, found.total) == (round(density * total), total)
        for name, count in found.per_layer().items():
            assert count.total == prod(shapes[name])
            assert count.total - round(found[name] * count.total) == count.kept >= 1
            assert 0.0 <= found[name] < 1.0


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("density", [0.02, 0.05, 0.1, 0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    ("rule", "raw"),
    [
        (erdos_renyi_kernel, lambda shape: sum(shape) / prod(shape)),
        (erdos_renyi, lambda shape: (shape[0] + shape[1]) / (shape[0] * shape[1])),
    ],
)
def test_it_is_what_the_published_loop_finds(network, density, rule, raw):
    shapes = NETWORKS[network]
    expected = literal(shapes, density, raw)
    found = rule(shapes, density)
    for name, count in found.per_layer().items():
        assert abs(count.kept - expected[name] * count.total) <= 1.0, name
    assert {name for name, p in expected.items() if p == 1.0} <= set(found.dense)


def test_vgg16_by_hand():
    """The shapes add up to 73, 134, ..., 522, together 8,539, and 1,471,558 / 8,539 = 172.3 = ε at first.

    The first convolution would keep 12,580 of 1,728 and the linear layer 89,960 of 5,120: they are dense. The others
    share 1,464,710 at 7,944, so ε = 184.38, at which none is above one.
    """
    found = erdos_renyi_kernel(VGG16, 0.1)
    assert (found.kept, found.total, found.dense) == (1_471_558, 14_715_584, ("c0", "fc"))
    assert found.per_layer()["c1"].kept == 24_707  # 134 * 184.38 of 36,864
    assert {found.per_layer()[f"c{i}"].kept for i in range(8, 13)} <= {189_910, 189_911}  # 1,030 * 184.38


def test_a_layer_that_would_be_more_than_dense_gives_the_rest_to_the_others():
    """Shares 5 : 20; the small one has 6 weights alone."""
    shapes = {"a": (2, 3), "b": (10, 10)}
    assert kept(erdos_renyi_kernel(shapes, 25 / 106)) == {"a": 5, "b": 20}
    found = erdos_renyi_kernel(shapes, 50 / 106)
    assert (kept(found), found.dense) == ({"a": 6, "b": 44}, ("a",))


def test_the_kernel_counts_in_one_rule_alone():
    shapes = {"wide": (8, 8, 3, 3), "narrow": (8, 8, 1, 1)}
    assert kept(erdos_renyi(shapes, 0.25)) == {"wide": 144, "narrow": 16}
    assert kept(erdos_renyi_kernel(shapes, 0.0625)) == {"wide": 22, "narrow": 18}


def test_uniform_is_the_same_everywhere_up_to_a_weight():
    for density in (0.03, 0.37, 0.71):
        for count in uniform(VGG16, density).per_layer().values():
            assert abs(count.kept - density * count.total) <= 1.0


def test_uniform_plus_shares_the_rest_among_the_rest():
    """The published code divides by all weights and keeps too few."""
    shapes = RESNET20
    total, first, last = sum(map(prod, shapes.values())), prod(shapes["stem.weight"]), prod(shapes["classifier.weight"])
    found = uniform_plus(shapes, 0.1)
    assert found.dense == ("stem.weight",)
    assert found.per_layer()["classifier.weight"].kept == last // 5
    shared = (0.1 * total - first - last / 5) / (total - first - last)
    middle = {n: c for n, c in found.per_layer().items() if n not in ("stem.weight", "classifier.weight")}
    assert all(abs(c.kept - shared * c.total) <= 1.0 for c in middle.values())
    published = (0.1 * total - first - last / 5) / total
    assert published * (total - first - last) + first + last / 5 < found.kept - 10


def test_the_last_layer_is_like_the_others_from_twenty_per_cent_on():
    found = uniform_plus(SMALL, 0.2)
    shared = (0.2 * 956 - 36) / 920
    assert kept(found) == {"conv1": 36, "conv2": round(720 * shared), "fc": round(200 * shared)}


def test_networks_of_one_kind():
    assert kept(uniform_plus({"a": (10, 10), "b": (10, 10)}, 0.15)) == {"a": 10, "b": 20}
    assert uniform_plus({"a": (10, 10), "b": (5, 10)}, 0.1).per_layer()["b"].kept == 10
    assert uniform_plus({"a": (10, 10), "b": (5, 10)}, 0.1).dense == ()
    assert kept(uniform_plus({"a": (4, 2, 3), "b": (4, 4, 3)}, 0.5)) == {"a": 24, "b": 12}


@pytest.mark.parametrize("rule", DENSITIES)
def test_layers_only_grow_with_the_density(rule):
    before = None
    for permille in range(200, 1001, 7):
        now = kept(DENSITIES[rule](SMALL, permille / 1000))
        assert before is None or all(before[name] <= now[name] for name in now)
        before = now


@pytest.mark.parametrize(
    ("rule", "shapes", "density"),
    [
        ("uniform_plus", SMALL, 0.07),
        ("uniform_plus", {"conv": (40, 3, 3, 3), "next": (4, 40, 1, 1), "fc": (4, 4)}, 0.1),
        ("erk", SMALL, 0.002),
    ],
)
def test_the_smallest_density_that_an_error_names_works(rule, shapes, density):
    with pytest.raises(ValueError, match=r"\(density=\) must be enough for \d+ of .* The smallest feasible") as error:
        DENSITIES[rule](shapes, density)
    smallest = float(str(error.value).rsplit(" ", 1)[1].rstrip("."))
    assert DENSITIES[rule](shapes, smallest).kept > 0
    with pytest.raises(ValueError, match="The smallest feasible"):
        DENSITIES[rule](shapes, smallest - 0.6 / sum(map(prod, shapes.values())))


@pytest.mark.parametrize("density", [0, 1.01, -0.1, True, "0.1", float("nan")])
def test_a_density_out_of_range_is_refused(density):
    with pytest.raises(ValueError, match=r"erdos_renyi\(density=\) must be in \(0, 1\].*density=1-s"):
        erdos_renyi(SMALL, density)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({}, "at least one"),
        ([(3, 3)], "a mapping of names"),
        ({"bias": (4,)}, "shape of 'bias' must be of two or more"),
        ({"w": (0, 4)}, "none of them empty"),
        ({"w": torch.ones(3, 3)}, "of two or more"),
    ],
)
def test_what_has_no_weights_is_refused(shapes, said):
    with pytest.raises(ValueError, match=said):
        uniform(shapes, 0.5)


def test_an_unknown_rule_lists_the_known_ones():
    with pytest.raises(KeyError, match=r"DENSITIES has no 'erks'. Did you mean 'erk'\? Known: er, erk, uniform, uni"):
        DENSITIES["erks"]


def test_an_allocation_says_what_it_is():
    found = Allocation({"a": 1, "b": 4}, {"a": 4, "b": 4})
    assert (found.density, found.sparsity, found.compression_ratio, found.dense) == (0.625, 0.375, 1.6, ("b",))
    assert found == {"a": 0.75, "b": 0.0}
    assert "5 of 8 weights kept, density 0.6250, sparsity 0.3750, compression 1.6x, dense ['b']" in repr(found)
    with pytest.raises(ValueError, match="'a' must be between 1 and 4; got 0"):
        Allocation({"a": 0}, {"a": 4})
    with pytest.raises(ValueError, match="of the layers of totals"):
        Allocation({"a": 1}, {"b": 4})


def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 20, 3), nn.Flatten(), nn.Linear(20, 10))


@pytest.mark.parametrize("rule", DENSITIES)
def test_selection_and_pruning_keep_exactly_these(rule):
    """Counts are chosen, not sampled: they do not vary with the seed."""
    model = network()
    allocation = DENSITIES[rule](model, 0.21)
    scores = fp.score("random", fp.gather(model, None, (), needs=()), seed=3)
    assert {n: c.kept for n, c in fp.select(scores, sparsity=allocation).per_layer().items()} == kept(allocation)
    for seed in (0, 1):
        result = fp.prune(model, measure="random", scope=allocation, options={"seed": seed})
        assert {n: c.kept for n, c in result.masks.per_layer().items()} == kept(allocation)
        weights = {n: int(p.count_nonzero()) for n, p in result.model.named_parameters() if p.dim() > 1}
        assert weights == kept(allocation)


def test_weight_shapes_are_those_that_weights_offers():
    model = network()
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Weights(skip=("0.*",)))
    assert weight_shapes(model, skip=("0.*",)) == {name: tuple(score.shape) for name, score in scores.items()}
    assert list(weight_shapes(model)) == ["0.weight", "2.weight", "4.weight"]
