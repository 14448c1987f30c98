"""The index arithmetic below the rules, against slow literal versions."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from flowprune.structure.atoms import Atoms
from flowprune.structure.ledger import Unexplained
from flowprune.structure.rules.shape import blocks


def slow_labels(count, pairs):
    label = list(range(count))
    for a, b in itertools.chain.from_iterable([pairs] * count):
        label[a] = label[b] = min(label[a], label[b])
    return label


@pytest.mark.parametrize("seed", range(20))
def test_labels_are_the_connected_components(seed):
    draw = random.Random(seed)
    count = draw.randint(1, 30)
    pairs = [(draw.randrange(count), draw.randrange(count)) for _ in range(draw.randint(0, 40))]
    atoms = Atoms()
    atoms.new(count)
    for a, b in pairs:
        atoms.unify(np.array([a]), np.array([b]))
    assert atoms.labels().tolist() == slow_labels(count, pairs)


def test_a_long_chain_is_one():
    atoms = Atoms()
    line = atoms.new(10_000)
    atoms.unify(line[:-1], line[1:])
    assert (atoms.labels() == 0).all()


def test_unlike_shapes_are_not_paired():
    with pytest.raises(ValueError, match="cannot be paired"):
        Atoms().unify(np.arange(2), np.arange(3))


@pytest.mark.parametrize("seed", range(20))
def test_blocks_hold_the_same_entries(seed):
    draw = random.Random(seed)
    factors = [draw.choice([1, 2, 3]) for _ in range(6)]

    def grouping():
        cuts = sorted(draw.sample(range(1, 6), draw.randint(0, 5)))
        return [int(np.prod(part)) for part in np.split(np.array(factors), cuts)]

    before, after = grouping(), grouping()
    found = blocks(before, after)
    assert [i for inner, _ in found for i in inner] == list(range(len(before)))
    assert [o for _, outer in found for o in outer] == list(range(len(after)))
    for inner, outer in found:
        assert np.prod([before[i] for i in inner]) == np.prod([after[o] for o in outer])


def test_blocks_of_sizes_that_do_not_divide():
    assert blocks((2, 3, 4), (4, 6)) == [([0, 1, 2], [0, 1])]
    with pytest.raises(Unexplained):
        blocks((2, 3), (4,))
