"""The state dict of an optimizer that was saved before a cut, for one that is built after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from flowprune.core.errors import invalid
from flowprune.core.optimizer_state import slice_state
from flowprune.plan.records import Plan
from flowprune.plan.since import Cut, followed, past

State = dict[str, Any]


def carry_state(cut: Cut, state: Mapping[str, Any], *, names: Sequence[str] | None = None) -> State:
    """An optimizer's ``state_dict()`` from before a cut, as it is after it: momenta are sliced, numbers stay.

    Args:
        cut: The pruned model, what ``fp.prune`` returned, its plan, or where that is saved.
        state: Of the optimizer of the dense model; it is not changed.
        names: The dense model's names of the parameters, in the order in which the optimizer holds them. Needed unless
            it was built on ``model.parameters()``, or on named parameters.

    Returns:
        For ``load_state_dict`` of an optimizer that is built on the pruned model in the same way.

    Raises:
        ValueError: it is no optimizer's state, or not clear whose the entries are.
        PruningError: an entry has neither one value nor the axes of its parameter.

    Example:
        >>> import flowprune as fp
        >>> from torch import nn
        >>> model, x = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.ones(1, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> model(x).sum().backward(); optimizer.step()
        >>> small = fp.remove(model, {"0.weight": torch.tensor([True, False, True])}, example_inputs=x)
        >>> after = torch.optim.SGD(small.parameters(), lr=0.1, momentum=0.9)
        >>> after.load_state_dict(fp.carry_state(small, optimizer.state_dict()))
        >>> after.state[small[0].weight]["momentum_buffer"].shape
        torch.Size([2, 2])
    """
    plan = past("carry_state(cut=)", cut)
    groups, entries = _parts(state)
    shapes, named = plan.dense.parameters, _names(plan, groups, names)
    after = {old: found for old, name in named.items() if (found := followed(name, plan.operations)) is not None}
    numbers = {old: number for number, old in enumerate(after)}
    states: dict[int, Any] = {}
    for old, own in entries.items():
        if old in numbers:
            stand_in = torch.empty(shapes[named[old]], device="meta")
            states[numbers[old]] = slice_state(own, stand_in, after[old][1], where="carry_state(state=)")
    return {
        **state,
        "state": states,
        "param_groups": [
            _renumbered(group, numbers, {old: name for old, (name, _) in after.items()}) for group in groups
        ],
    }


def _parts(state: Mapping[str, Any]) -> tuple[list[State], Mapping[int, Mapping[str, Any]]]:
    """The groups and the entries by number."""
    there = state if isinstance(state, Mapping) else {}
    groups, entries = there.get("param_groups"), there.get("state")
    if not isinstance(groups, list) or not isinstance(entries, Mapping):
        got = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise invalid("carry_state(state=)", "what optimizer.state_dict() gave", got)
    return groups, entries


def _names(plan: Plan, groups: Sequence[State], given: Sequence[str] | None) -> dict[int, str]:
    """The name of each parameter by its number in the state."""
    numbers = [number for group in groups for number in group["params"]]
    own = [name for group in groups for name in group.get("param_names", ())]
    whole = list(plan.dense.parameters) if len(groups) == 1 else []  # several groups may be in any order
    names = list(given) if given is not None else own or whole
    names = [plan.dense.ties.get(name, name) for name in names]
    foreign = [name for name in names if name not in plan.dense.parameters]
    if foreign or len(set(names)) != len(numbers) or len(names) != len(numbers):
        told = f"{len(names)} names" + (f", among them {foreign[0]!r}" if foreign else "")
        todo = "Pass names=, the names of the dense model's parameters in the order of the optimizer's groups."
        raise invalid("carry_state(state=)", f"of {len(numbers)} parameters of the model that was cut", told, todo)
    return dict(zip(numbers, names, strict=True))


def _renumbered(group: State, numbers: Mapping[int, int], after: Mapping[int, str]) -> State:
    """A group without parameters that are gone, by the names of afterwards."""
    stay = [place for place, old in enumerate(group["params"]) if old in numbers]
    result = {**group, "params": [numbers[group["params"][place]] for place in stay]}
    if "param_names" in group:
        result["param_names"] = [after[group["params"][place]] for place in stay]
    return result
