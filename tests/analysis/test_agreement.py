"""Agreement of measures against scipy, and its baselines."""

import math

import pytest
import torch
from scipy import stats

from flowprune.analysis import agreement, mask_distance


@pytest.mark.parametrize("seed", range(4))
def test_correlations_equal_scipys_also_with_ties(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    a = {"x": torch.randint(0, 9, (40,), generator=g).double(), "y": torch.randn(5, 6, generator=g).double()}
    b = {name: value * 0.5 + torch.randn(value.shape, generator=g).double() for name, value in a.items()}
    flat = [torch.cat([s[n].flatten() for n in s]).numpy() for s in (a, b)]
    found = agreement(a, b, sparsity=0.5)
    assert found.spearman == pytest.approx(stats.spearmanr(*flat).statistic, abs=1e-12)
    assert found.pearson == pytest.approx(stats.pearsonr(*flat).statistic, abs=1e-12)
    assert found.units == 70


def test_overlap_is_one_for_itself_and_the_density_for_chance() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = ({"w": torch.rand(40_000, generator=g)} for _ in range(2))
    assert agreement(a, a, sparsity=0.75).overlap == 1.0
    assert agreement(a, b, sparsity=0.75).overlap == pytest.approx(0.25, abs=0.01)


def test_constant_scores_have_no_correlation_and_other_layers_are_refused() -> None:
    one = {"w": torch.ones(4)}
    assert math.isnan(agreement(one, {"w": torch.arange(4.0)}, sparsity=0.5).spearman)
    with pytest.raises(ValueError, match="same units"):
        agreement(one, {"v": torch.ones(4)}, sparsity=0.5)


def test_mask_distance_is_a_normalised_hamming_distance() -> None:
    a = {"x": torch.tensor([True, True]), "y": torch.tensor([True, False])}
    b = {"x": torch.tensor([True, False]), "y": torch.tensor([True, False])}
    assert mask_distance(a, b) == 0.25
    assert mask_distance(a, a) == 0.0
