"""The largest sparsity that leaves every layer a unit, against selections of every size."""

from __future__ import annotations

import time

import pytest
import torch

from flowprune.core.errors import PruningError
from flowprune.masks.critical import Critical, largest_safe_sparsity
from flowprune.masks.select import remove_lowest, select


def scores_of(kind, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (3, 4), "b": (7,), "c": (2, 2, 2), "d": (1,)}
    draw = {
        "normal": lambda shape: torch.randn(shape, generator=generator),
        "ties": lambda shape: torch.randint(0, 3, shape, generator=generator).float(),
        "half zero": lambda shape: torch.randn(shape, generator=generator).relu(),
        "bfloat16": lambda shape: torch.randn(shape, generator=generator).bfloat16(),
        "constant": torch.ones,
    }[kind]
    return {name: draw(shape) for name, shape in shapes.items()}


def emptied(scores, remove, alive):
    """The layers that a selection names as it refuses; None where it goes through."""
    try:
        remove_lowest(scores, remove, alive=alive)
    except PruningError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", ["normal", "ties", "half zero", "bfloat16", "constant"])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("within", [False, True])
def test_one_more_empties_the_layer_and_no_less_does(kind, seed, within):
    """Brute force: every number of units is removed by the selection itself."""
    scores, alive = scores_of(kind, seed), None
    if within:
        generator = torch.Generator().manual_seed(seed + 100)
        alive = {name: torch.rand(s.shape, generator=generator) < 0.7 for name, s in scores.items()}
        for mask in alive.values():
            mask.view(-1)[-1] = True
    found = largest_safe_sparsity(scores, alive)
    gone = 0 if alive is None else sum(int((~mask).sum()) for mask in alive.values())
    assert found.total == 28
    assert [emptied(scores, k, alive) for k in range(gone, found.removable + 1)] == [None] * (
        found.removable + 1 - gone
    )
    assert f"{found.layer!r} would be emptied" in emptied(scores, found.removable + 1, alive)


def test_types_are_compared_exactly():
    """0.1 of float32 is above 0.1 of float64: a comparison in float32 would call it a tie."""
    scores = {"a": torch.tensor([0.1, 0.2]), "b": torch.tensor([0.1, 0.05], dtype=torch.float64)}
    assert largest_safe_sparsity(scores) == Critical("b", 1, 4)
    assert select(scores, 0.25).kept == 3
    with pytest.raises(PruningError, match="'b' would be emptied"):
        remove_lowest(scores, 2)


def test_the_sparsity_is_one_that_select_takes():
    for seed in range(20):
        scores = scores_of("normal", seed)
        found = largest_safe_sparsity(scores)
        assert select(scores, found.sparsity).kept == found.total - found.removable


def test_many_scores_take_two_passes():
    generator = torch.Generator().manual_seed(0)
    scores = {f"l{i}": torch.randn(1_000_000, generator=generator).abs() for i in range(4)}
    scores["least"] = scores["l0"][:1000] * 0.1
    start = time.process_time()
    found = largest_safe_sparsity(scores)
    assert time.process_time() - start < 1
    assert found.layer == "least"
    above = sum(int((s > scores["least"].max()).sum()) for s in scores.values())
    assert found.removable == found.total - above - 1


def test_layers_without_units_are_passed_over():
    assert largest_safe_sparsity({"a": torch.ones(2), "none": torch.ones(0)}) == Critical("a", 1, 2)


def test_what_is_refused():
    a = torch.tensor([1.0, 2.0])
    for call, said in (
        (lambda: largest_safe_sparsity({}), r"largest_safe_sparsity\(scores=\) must be at least one layer"),
        (lambda: largest_safe_sparsity({"a": [1.0]}), r"scores of 'a' must be a tensor"),
        (lambda: largest_safe_sparsity({"a": torch.tensor([1.0, torch.nan])}), r"must be finite everywhere"),
        (lambda: largest_safe_sparsity({"a": a}, {"b": a > 0}), r"largest_safe_sparsity\(alive=\) must be masks"),
        (lambda: largest_safe_sparsity({"a": a}, {"a": a}), r"alive=\): mask of 'a' must be boolean"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    with pytest.raises(PruningError, match=r"must leave a unit in every layer; 'a' has none"):
        largest_safe_sparsity({"a": a}, {"a": a > 5})
