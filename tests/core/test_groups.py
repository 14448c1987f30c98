"""Groups: adding up entries by unit, and laying a mask of units over them, are one map and its transpose."""

import pytest
import torch

from flowprune.core.groups import Group, channels_of, channelwise, require_sparsity_of
from flowprune.core.units import Member, UnitGroup, rows
from flowprune.masks import NM, Blocks, WeightGroup

WEIGHTS = {"linear": (7, 12), "conv": (5, 8, 3, 2), "one output": (1, 4)}


def coupled() -> tuple[UnitGroup, dict[str, torch.Size]]:
    """Units on two axes of two tensors, some positions of no unit, one slice of no score."""
    a = Member("a", 0, torch.tensor([0, 2, 3]), torch.tensor([1, 0, 1]), "weight")
    b = Member("b", 1, torch.tensor([1, 0]), torch.tensor([0, 1]), "weight")
    unscored = Member("c", 0, torch.arange(2), torch.arange(2), "input", scored=False)
    return UnitGroup("a", 2, (a, b, unscored)), {"a": (5, 3), "b": (2, 4, 2), "c": (2, 2)}


def cases() -> dict[str, tuple[Group, dict[str, tuple[int, ...]]]]:
    found: dict[str, tuple[Group, dict[str, tuple[int, ...]]]] = {"coupled": coupled()}
    for named, shape in WEIGHTS.items():
        found[f"rows of {named}"] = (rows("w", shape[0]), {"w": shape})
        for pattern in (Blocks(1, 1), Blocks(2, 3), Blocks(4, 1), Blocks(100, 100), NM(1, 2), NM(3, 4)):
            found[f"{pattern.name} of {named}"] = (WeightGroup("w", shape, pattern), {"w": shape})
    turned = (12, 5, 3)
    for pattern in (Blocks(2, 5), NM(2, 4)):
        found[f"{pattern.name}, inputs first"] = (WeightGroup("w", turned, pattern, inputs_first=True), {"w": turned})
    return found


CASES = cases()


def laid_over(group: Group, mask: torch.Tensor, x: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: keep.expand(x[name].shape) for name, keep in group.spread(mask, x)}


@pytest.mark.parametrize("case", CASES)
def test_total_and_spread_are_transposes(case: str) -> None:
    """For every mask u of units and every x of entries, <total(x), u> = <x, spread(u)>."""
    group, shapes = CASES[case]
    generator = torch.Generator().manual_seed(0)
    x = {n: torch.randint(-9, 10, shape, generator=generator).double() for n, shape in shapes.items()}
    assert group.total(x, "weight").shape == group.shape
    for _ in range(5):
        u = torch.rand(group.shape, generator=generator) < 0.5
        kept, gone = (laid_over(group, each, x) for each in (u, ~u))
        laid = sum(float(x[n][kept[n] & ~gone[n]].sum()) for n in kept)  # entries of no unit stay under both
        assert float(group.total(x, "weight")[u].sum()) == laid


@pytest.mark.parametrize("case", CASES)
def test_a_mask_that_keeps_all_changes_nothing_and_sizes_add_up(case: str) -> None:
    group, shapes = CASES[case]
    params = {n: torch.ones(shape) for n, shape in shapes.items()}
    assert all(bool(keep.all()) for _, keep in group.spread(torch.ones(group.shape, dtype=torch.bool), params))
    assert group.read("weight")
    assert group.total({}, "weight") is None
    assert group.fan_in(params).shape == group.shape


def test_what_a_group_says_of_itself() -> None:
    channels, blocks, nm = rows("w", 4), WeightGroup("w", (4, 4), Blocks(2, 2)), WeightGroup("w", (4, 4), NM(2, 4))
    assert [g.channelwise for g in (channels, blocks, nm)] == [True, False, False]
    assert [g.removable for g in (channels, blocks, nm)] == [True, False, False]
    assert [g.sparsity for g in (channels, blocks, nm)] == [None, None, 0.5]
    assert [g.unit for g in (channels, blocks, nm)] == ["units", "2x2 blocks", "2:4 weights"]
    assert channelwise({"a": blocks, "b": channels})
    assert not channelwise({"a": blocks, "b": nm})


def test_parts_of_a_weight_are_no_channels() -> None:
    with pytest.raises(ValueError, match=r"remove\(masks=\) must be of channels; got '2x2 blocks'.*fp.apply"):
        channels_of("remove(masks=)", {"w": WeightGroup("w", (4, 4), Blocks(2, 2)), "v": rows("v", 3)})


def test_a_sparsity_that_is_a_rounding_away_is_the_patterns() -> None:
    group = WeightGroup("w", (4, 6), NM(1, 3))
    for same in (2 / 3, 1 - 1 / 3, 0.6666666667):
        require_sparsity_of("select(sparsity=)", group, same)
    with pytest.raises(ValueError, match=r"must be 0\.666.*, the sparsity of 1:3 weights; got 0\.667"):
        require_sparsity_of("select(sparsity=)", group, 0.667)
