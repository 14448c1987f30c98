"""A budget inside a training loop: what it goes with, and how rounds come to it."""

from __future__ import annotations

import pytest
import torch

import flowprune as fp
from tests.prune.networks import batches, convnet

X = batches(1)[0][0]


def test_a_pruner_refuses_what_a_budget_cannot_go_with() -> None:
    def pruner(**options) -> fp.Pruner:
        given = {"measure": "magnitude", "granularity": fp.Channels(X), "objective": None}
        return fp.Pruner(convnet(), None, **{**given, "schedule": fp.schedules.rounds(2), **options})

    half = fp.Budget(parameters=0.5)
    for options, said in (
        ({"budget": 0.5}, "a Budget"),
        ({"budget": half, "schedule": fp.schedules.rounds(2, sparsity=0.5)}, "without a sparsity beside budget="),
        ({"budget": half, "when": fp.schedules.early_bird()}, "None where an event is waited for"),
        ({"budget": half, "reference_compat": True}, "False beside a budget"),
        ({}, "sparsity"),
    ):
        with pytest.raises(ValueError, match=said):
            pruner(**options)
    with pytest.raises(ValueError, match="a budget in absolute numbers"):
        pruner(budget=half).resume(fp.Masks({"w": torch.ones(2) > 0}), rounds=1)


def test_a_run_of_several_rounds_goes_on_to_its_budget() -> None:
    model, budget = convnet(), fp.Budget(parameters=1500)
    options = {"measure": "magnitude", "granularity": fp.Channels(X), "objective": None, "budget": budget}
    first = fp.Pruner(model, None, schedule=fp.schedules.linear(3), **options)
    first.step()
    second = fp.Pruner(model, None, schedule=fp.schedules.linear(3), **options)
    second.resume(first.masks, rounds=1)
    while not second.done:
        second.step()
    assert second.solution is not None
    assert second.solution.achieved == sum(p.numel() for p in model.parameters())
    assert abs(second.solution.miss) < 100


def test_a_floor_that_is_none_leaves_one_unit_where_there_is_a_budget() -> None:
    options = {"measure": "magnitude", "granularity": fp.Channels(X), "floor": None}
    result = fp.prune(convnet(), budget=fp.Budget(channels=3), **options)
    assert [count.kept for count in result.masks.per_layer().values()] == [1, 1, 1]
