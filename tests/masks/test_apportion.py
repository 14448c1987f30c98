"""Removals shared out among pools."""

from fractions import Fraction

import pytest

from flowprune.masks import apportion


def literal(removed, sizes, least, most):
    """One unit after the other, each to the pool whose next one goes at the lowest sparsity."""
    share = list(least)
    for _ in range(removed - sum(share)):
        free = [i for i, n in enumerate(sizes) if share[i] < most[i]]
        share[min(free, key=lambda i: (Fraction(2 * share[i] + 1, 2 * sizes[i]), i))] += 1
    return share


@pytest.mark.parametrize("sizes", [(7,), (8, 8, 8), (3, 10, 17), (1, 1, 64), (5, 0, 5)])
def test_every_number_is_shared_as_one_would_by_hand(sizes):
    none = [0] * len(sizes)
    for removed in range(sum(sizes) + 1):
        assert apportion(removed, sizes) == literal(removed, sizes, none, sizes)


def test_bounds_hold_and_shares_never_shrink():
    sizes, least, most = (6, 20, 9), (4, 0, 1), (5, 20, 3)
    before = list(least)
    for removed in range(sum(least), sum(most) + 1):
        share = apportion(removed, sizes, least=least, most=most)
        assert sum(share) == removed
        assert sum(b - a for a, b in zip(before, share, strict=True)) == (removed > sum(least))
        assert all(low <= s <= high for low, s, high in zip(least, share, most, strict=True))
        before = share


def test_a_hundred_million_units_are_shared_at_once():
    share = apportion(60_000_001, (100_000_000, 3))
    assert sum(share) == 60_000_001
    assert share[1] == 2


@pytest.mark.parametrize("removed", [1, 8])
def test_what_cannot_be_shared_is_refused(removed):
    with pytest.raises(ValueError, match="between 2 and 7"):
        apportion(removed, (4, 4), least=(2, 0), most=(4, 3))
