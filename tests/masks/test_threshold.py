"""The k-th largest of some of many numbers, against sorting."""

import numpy as np
import pytest

from flowprune.masks import threshold
from flowprune.masks.threshold import kth_largest


def by_sorting(arrays, among, k):
    values = np.concatenate([a if keep is None else a[keep] for a, keep in zip(arrays, among, strict=True)])
    value = np.sort(values)[::-1][k - 1]
    return value, k - int((values > value).sum()), int((values == value).sum())


@pytest.mark.parametrize("share", [0.9, 0.3, 0.05])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("small", [False, True])
def test_of_those_that_count(share, tied, small, monkeypatch):
    if not small:
        for name, value in {"SMALL": 100, "SAMPLE": 500, "BLOCK": 128}.items():
            monkeypatch.setattr(threshold, name, value)
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(n).round(1 if tied else 9) for n in (3000, 1, 700)]
    among = [random.random(3000) < share, None, random.random(700) < share]
    live = sum(1 if keep is None else int(keep.sum()) for keep in among)
    for k in (1, live // 10 + 1, live // 2, live):
        found = kth_largest(arrays, k, among)
        assert (found.value, found.taken, found.ties) == by_sorting(arrays, among, k)
        assert found.finite


@pytest.mark.parametrize("small", [False, True])
def test_only_what_counts_must_be_finite(small, monkeypatch):
    if not small:
        monkeypatch.setattr(threshold, "SMALL", 10)
    values = np.arange(100.0)
    values[3] = np.nan
    counts = np.ones(100, np.bool_)
    assert not kth_largest([values], 5, [counts]).finite
    counts[3] = False
    assert kth_largest([values], 5, [counts]).value == 95.0
