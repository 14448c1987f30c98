"""Shuffled masks and inverted scores: what stays, and what must change."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.masks import invert, is_n_m, overlap, shuffle


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 4)
    )


def scores_of(model, granularity=None):
    return fp.score("magnitude", fp.gather(model, None, (), needs=()), granularity)


GRANULARITIES = {
    "weights": fp.Weights(),
    "blocks": fp.Blocks(2, 3),
    "channels": fp.Channels(example_inputs=torch.ones(1, 3, 8, 8)),
}


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_counts_of_layers_stay_and_positions_change(granularity):
    model = network()
    masks = fp.select(scores_of(model, GRANULARITIES[granularity]), 0.5)
    shuffled = shuffle(masks, seed=0)
    assert shuffled.per_layer() == masks.per_layer()
    assert (shuffled.layout, shuffled.fingerprint) == (masks.layout, masks.fingerprint)
    assert any(not torch.equal(shuffled[name], mask) for name, mask in masks.items())
    assert all(
        shuffled[name].shape == mask.shape and shuffled[name].dtype == torch.bool for name, mask in masks.items()
    )


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_result_is_what_the_model_gets(granularity):
    """RT-6: the published shuffle permuted a copy and threw it away."""
    model = network()
    masks = fp.select(scores_of(model, GRANULARITIES[granularity]), 0.5)
    once, twice = fp.apply(network(), masks), fp.apply(network(), shuffle(masks, seed=1))
    zeros = [torch.cat([(p == 0).flatten() for p in m.parameters() if p.dim() > 1]) for m in (once, twice)]
    assert not torch.equal(*zeros)
    assert bool(zeros[1].any())


def test_the_masks_given_are_left_as_they_are():
    masks = fp.select(scores_of(network()), 0.5)
    before = {name: mask.clone() for name, mask in masks.items()}
    state = torch.get_rng_state()
    shuffle(masks, seed=0)
    assert all(torch.equal(before[name], mask) for name, mask in masks.items())
    assert torch.equal(state, torch.get_rng_state())


def test_a_seed_is_a_shuffle_and_a_layer_has_its_own():
    masks = fp.select(scores_of(network()), 0.5)
    again, other = shuffle(masks, seed=0), shuffle(masks, seed=1)
    assert all(torch.equal(shuffle(masks, seed=0)[name], again[name]) for name in masks)
    assert all(not torch.equal(other[name], again[name]) for name in masks)
    alone = shuffle({"3.weight": masks["3.weight"]}, seed=0)
    assert torch.equal(alone["3.weight"], again["3.weight"])
    assert alone.layout == {}


def test_all_positions_are_alike():
    """2 of 5: each of the ten pairs comes 500 times in 5,000, within 4.5 standard deviations of 21."""
    mask = {"w": torch.tensor([True, True, False, False, False])}
    found = [tuple(shuffle(mask, seed=seed)["w"].nonzero().flatten().tolist()) for seed in range(5000)]
    counts = {pair: found.count(pair) for pair in combinations(range(5), 2)}
    assert sum(counts.values()) == 5000
    assert all(abs(count - 500) < 95 for count in counts.values())


def test_only_what_is_alive_takes_part():
    alive = {"a": torch.tensor([True, False, True, True, False, True])}
    masks = {"a": torch.tensor([True, False, True, False, False, False]), "b": torch.tensor([True, False])}
    for seed in range(20):
        shuffled = shuffle(masks, seed=seed, alive=alive)
        assert not bool((shuffled["a"] & ~alive["a"]).any())
        assert (int(shuffled["a"].sum()), int(shuffled["b"].sum())) == (2, 1)


def test_full_and_empty_layers_stay_so():
    masks = {"full": torch.ones(2, 2, dtype=torch.bool), "none": torch.zeros(3, dtype=torch.bool)}
    shuffled = shuffle(masks, seed=0)
    assert bool(shuffled["full"].all())
    assert not bool(shuffled["none"].any())


def test_an_n_m_pattern_is_one_after_it():
    masks = fp.select(scores_of(nn.Linear(16, 5), fp.NM(2, 4)))
    shuffled = shuffle(masks, seed=0)
    assert is_n_m(shuffled["weight"], 2, 4)
    assert not torch.equal(shuffled["weight"], masks["weight"])
    few = fp.Masks({"weight": torch.zeros(5, 16, dtype=torch.bool)}, layout=masks.layout)
    with pytest.raises(ValueError, match=r"'weight' must be of at least 40 2:4 weights kept; got 0"):
        shuffle(few, seed=0)


@pytest.mark.parametrize(
    ("masks", "alive", "said"),
    [
        ([torch.ones(2)], None, "a mapping of names"),
        ({"w": torch.ones(2)}, None, "a boolean tensor"),
        ({"w": torch.tensor([True, False])}, {"w": torch.tensor([False, True])}, "1 kept that are not"),
        ({"w": torch.tensor([True, False])}, {"w": torch.tensor([True])}, r"boolean of shape \(2,\)"),
        ({"w": torch.tensor([True, False])}, {"v": torch.tensor([True])}, "masks has no 'v'"),
    ],
)
def test_what_cannot_be_shuffled_is_refused(masks, alive, said):
    with pytest.raises(ValueError, match=said):
        shuffle(masks, seed=0, alive=alive)


def test_inverted_twice_is_the_scores():
    scores = scores_of(network(), GRANULARITIES["channels"])
    twice = invert(invert(scores))
    assert all(torch.equal(twice[name], score) for name, score in scores.items())
    assert (twice.layout, twice.fingerprint) == (scores.layout, scores.fingerprint)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.7])
def test_the_inverted_selection_has_the_least_in_common(granularity, scope, sparsity):
    """Of a pool of n that keeps k, 2k - n at least are in both."""
    signals = fp.gather(network(), None, (), needs=())
    scores = fp.score("random", signals, GRANULARITIES[granularity], seed=1)
    one, other = (fp.select(each, sparsity, scope=scope) for each in (scores, invert(scores)))
    common = overlap(one, other)
    if scope == "global":
        assert common.total.both == max(0, 2 * one.kept - one.total)
    else:
        least = {name: max(0, 2 * count.kept - count.total) for name, count in one.per_layer().items()}
        assert {name: shared.both for name, shared in common.layers.items()} == least


def test_overlap_of_layers_and_of_all():
    a = {"u": torch.tensor([True, True, False, False]), "v": torch.tensor([True] * 6)}
    b = {"u": torch.tensor([True, False, True, False]), "v": torch.tensor([True] * 3 + [False] * 3)}
    found = overlap(a, b)
    assert {name: tuple(shared) for name, shared in found.layers.items()} == {"u": (1, 3), "v": (3, 6)}
    assert (tuple(found.total), found.total.jaccard) == ((4, 9), 4 / 9)
    assert overlap(a, a).total.jaccard == 1.0
    nothing = {"u": torch.zeros(4, dtype=torch.bool)}
    assert overlap(nothing, nothing).total.jaccard == 1.0
    with pytest.raises(ValueError, match=r"of the same layers; got \['v'\]"):
        overlap(a, nothing)
    with pytest.raises(ValueError, match="two boolean masks of one shape"):
        overlap({"u": torch.ones(2)}, {"u": torch.ones(2)})


def test_random_masks_overlap_by_chance():
    mask = {"w": torch.arange(40_000) < 10_000}
    assert overlap(shuffle(mask, seed=0), shuffle(mask, seed=1)).total.jaccard == pytest.approx(0.25 / 1.75, abs=0.01)
