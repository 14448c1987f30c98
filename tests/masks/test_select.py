"""Exact selection: the count, the ties, the floors, the refusals."""

import random

import pytest
import torch

from flowprune.core.errors import PruningError
from flowprune.core.units import rows
from flowprune.masks import Masks, Scores, floors, remove_lowest, select
from tests.reference.selection import literal_select


def scores_of(kind: str, seed: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = {"a": (7, 3, 3, 3), "b": (40,), "c": (5, 11)}
    draw = {
        "normal": lambda s: torch.randn(s, generator=g),
        "ties": lambda s: torch.randint(0, 4, s, generator=g).float(),
        "half zero": lambda s: torch.randn(s, generator=g).relu(),
        "float64": lambda s: torch.randn(s, generator=g, dtype=torch.float64) * 1e-300,
        "bfloat16": lambda s: torch.randn(s, generator=g).bfloat16(),
        "constant": torch.ones,
        "negative": lambda s: -torch.rand(s, generator=g),
    }[kind]
    return {name: draw(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("kind", ["normal", "ties", "half zero", "float64", "bfloat16", "constant", "negative"])
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.75, 0.9, 0.98])
def test_exactly_k_units_go_whatever_the_ties(kind: str, sparsity: float) -> None:
    """RT-2, RT-18: never a threshold with <=, never off by one."""
    scores = scores_of(kind, 0)
    n = sum(s.numel() for s in scores.values())
    masks = select(scores, sparsity, min_keep=1)
    assert masks.total - masks.kept == round(sparsity * n)
    lowest_kept = min(float(s[masks[name]].min()) for name, s in scores.items())
    tops = {name: s.max() for name, s in scores.items()}
    for name, s in scores.items():
        cut = s[~masks[name]]
        assert cut.numel() == 0 or float(cut.max()) <= max(lowest_kept, float(tops[name]))


@pytest.mark.parametrize("kind", ["normal", "ties", "half zero", "constant"])
@pytest.mark.parametrize("seed", range(5))
def test_selection_equals_a_stable_sort(kind: str, seed: int) -> None:
    scores = scores_of(kind, seed)
    remove = random.Random(seed).randrange(1, 150)
    expected = literal_select(scores, remove)
    if all(mask.any() for mask in expected.values()):
        masks = remove_lowest(scores, remove)
        assert all(torch.equal(masks[name], expected[name]) for name in scores)


def test_large_scores_take_the_sampled_path_and_agree_with_a_sort() -> None:
    g = torch.Generator().manual_seed(0)
    scores = {f"l{i}": torch.randn(700_001, generator=g) * (i + 1) for i in range(3)}
    masks = select(scores, 0.9)
    n = sum(s.numel() for s in scores.values())
    assert masks.total - masks.kept == round(0.9 * n)
    threshold = torch.cat(list(scores.values())).sort(descending=True).values[masks.kept - 1]
    assert all(torch.equal(masks[name], s >= threshold) for name, s in scores.items())


def test_equal_scores_leave_no_layer_empty_and_keep_the_count() -> None:
    masks = select({"a": torch.zeros(100), "b": torch.zeros(50)}, 0.6)
    assert (masks.kept, masks.per_layer()["b"].kept) == (60, 1)


def test_sparsity_is_the_fraction_removed() -> None:
    """RT-1: sparsity, never density."""
    masks = select({"w": torch.arange(10.0)}, 0.8)
    assert masks.sparsity == pytest.approx(0.8)
    assert masks.density == pytest.approx(0.2)
    assert masks["w"].tolist() == [False] * 8 + [True] * 2


def test_local_scope_cuts_each_layer_to_its_own_target() -> None:
    scores = {"a": torch.arange(10.0), "b": 100 + torch.arange(20.0)}
    assert {n: c.kept for n, c in select(scores, 0.5, scope="local").per_layer().items()} == {"a": 5, "b": 10}
    targets = select(scores, {"a": 0.1, "b": 0.75})
    assert {n: c.kept for n, c in targets.per_layer().items()} == {"a": 9, "b": 5}


def test_floor_protects_the_top_scored_units_not_the_last() -> None:
    """Q3: the reference protects the last channels by index."""
    scores = {"a": torch.tensor([0.3, 0.1, 0.2, 0.0]), "b": torch.arange(1.0, 9.0)}
    masks = select(scores, 0.5, min_keep={"a": 2})
    assert masks["a"].tolist() == [True, False, True, False]
    assert masks.kept == 6


def test_floor_is_the_papers() -> None:
    sizes = {"c": 64, "d": 128, "e": 256, "f": 512}
    assert floors(sizes, 0.05) == {"c": 4, "d": 7, "e": 13, "f": 26}


def test_protected_layers_count_but_are_not_cut() -> None:
    scores = {"a": torch.zeros(4), "b": torch.arange(1.0, 9.0)}
    masks = select(scores, 0.5, protect=("a",))
    assert masks.per_layer()["a"].kept == 4
    assert masks.total - masks.kept == 6


def test_nested_rounds_stay_nested_and_count_what_is_gone() -> None:
    g = torch.Generator().manual_seed(3)
    previous: Masks | None = None
    for target in (0.2, 0.5, 0.77, 0.9):
        scores = {"a": torch.randn(30, 10, generator=g), "b": torch.randn(77, generator=g)}
        masks = select(scores, target, within=previous, min_keep=1)
        assert masks.total - masks.kept == round(target * 377)
        if previous is not None:
            assert all(not (masks[n] & ~previous[n]).any() for n in scores)
        previous = masks


def test_dead_units_are_not_ranked_again_under_signed_scores() -> None:
    """Q6: the reference revives dead filters, whose score of 0 beats a live negative one."""
    previous = select({"a": torch.tensor([1.0, 2.0, 3.0, 4.0])}, 0.25)
    masks = select({"a": torch.tensor([0.0, -3.0, -2.0, -1.0])}, 0.5, within=previous)
    assert masks["a"].tolist() == [False, False, True, True]


@pytest.mark.parametrize("bad", [-0.1, 1.0, 1.5, float("nan"), "0.5"])
def test_sparsity_outside_its_range_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match=r"select\(sparsity=\) must be in \[0, 1\)"):
        select({"w": torch.ones(4)}, bad)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("sparsity", [0.0, 0.25])
def test_scores_that_are_not_finite_are_refused(bad: float, sparsity: float) -> None:
    """Q21: NaN sorts last, as if it were most important."""
    with pytest.raises(ValueError, match="'b' NaN or infinite"):
        select({"a": torch.ones(3), "b": torch.tensor([1.0, bad, 2.0])}, sparsity)


def test_an_emptied_layer_is_refused_and_named() -> None:
    scores = {"small": torch.tensor([0.1, 0.2]), "large": torch.arange(1.0, 7.0)}
    with pytest.raises(PruningError, match="'small' would be emptied"):
        select(scores, 0.5)
    assert select(scores, 0.5, min_keep=1)["small"].tolist() == [False, True]


def test_what_cannot_be_met_is_refused() -> None:
    with pytest.raises(PruningError, match="are protected"):
        select({"a": torch.ones(4)}, 0.75, min_keep=2)
    with pytest.raises(PruningError, match="must not fall"):
        select({"a": torch.ones(4)}, 0.25, within=select({"a": torch.ones(4)}, 0.75))
    with pytest.raises(ValueError, match="at least one layer"):
        select({}, 0.5)
    with pytest.raises(KeyError, match=r"has no 'glob'.*Known: global, isomorphic, local"):
        select({"a": torch.ones(4)}, 0.5, scope="glob")
    with pytest.raises(KeyError, match="has no 'conv'"):
        select({"a": torch.ones(4)}, 0.5, protect=("conv",))


def test_scores_are_not_changed() -> None:
    scores = {"a": torch.randn(50)}
    before = scores["a"].clone()
    select(scores, 0.5)
    assert torch.equal(scores["a"], before)


def test_a_channel_layer_keeps_its_best_unit_by_default_and_is_refused_without_a_floor() -> None:
    layout = {"small": rows("small", 2), "large": rows("large", 6)}
    scores = Scores({"small": torch.tensor([0.1, 0.2]), "large": torch.arange(1.0, 7.0)}, layout=layout)
    masks = select(scores, 0.5)
    assert masks["small"].tolist() == [False, True]
    assert masks.total - masks.kept == 4
    with pytest.raises(PruningError, match="'small' would be emptied"):
        select(scores, 0.5, min_keep=0)
    with pytest.raises(PruningError, match="are protected"):
        select(scores, 0.99)
