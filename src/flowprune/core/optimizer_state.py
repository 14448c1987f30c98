"""An optimizer after its parameters were replaced by smaller ones.

Replacing parameters detaches an optimizer in silence: it goes on updating tensors that no module holds any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from flowprune.core.errors import PruningError

Kept = tuple[tuple[int, Tensor], ...]
"""For each axis that shrinks: the axis, and the positions kept."""


@torch.no_grad()
def follow(
    optimizer: Optimizer, replaced: Mapping[nn.Parameter, tuple[nn.Parameter, Kept] | None], *, reset: bool = False
) -> None:
    """Make an optimizer hold the new parameters in the places of the old, with their state sliced alike.

    State tensors with the axes of their parameter (momentum, Adam moments) are sliced; numbers (the step) are kept.
    Parameters that are not named keep their place and their state.

    Args:
        optimizer: Changed in place; hyper-parameters and the order of its groups stay.
        replaced: For each old parameter its successor and the positions kept along its axes, or ``None`` where it
            has none and is dropped. ``CutPlan.replaced`` is such a mapping.
        reset: Drop the state of replaced parameters instead: they start afresh.

    Raises:
        PruningError: a state tensor has neither one entry nor the axes of its parameter, or the state is of all
            parameters together (L-BFGS); nothing is changed.

    Example:
        >>> old, new = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2))
        >>> optimizer = torch.optim.SGD([old], lr=0.1, momentum=0.9)
        >>> old.sum().backward(); optimizer.step()
        >>> optimizer.state[old]["momentum_buffer"] += torch.tensor([0.0, 1.0, 2.0])
        >>> follow(optimizer, {old: (new, ((0, torch.tensor([0, 2])),))})
        >>> optimizer.param_groups[0]["params"][0] is new, optimizer.state[new]["momentum_buffer"]
        (True, tensor([1., 3.]))
    """
    states: dict[nn.Parameter, dict[str, Any]] = {}
    if not reset:
        check_followable(optimizer, (old for old, successor in replaced.items() if successor is not None))
        for old, successor in replaced.items():
            if successor is not None and old in optimizer.state:
                new, kept = successor
                states[new] = slice_state(optimizer.state[old], old, kept)
    joint = _joint_state(optimizer, replaced)
    if joint is not None:
        optimizer.state.pop(joint, None)
    for group in optimizer.param_groups:
        # In place: L-BFGS keeps this very list.
        group["params"][:] = [p for p in (_successor(replaced, old) for old in group["params"]) if p is not None]
    for old in replaced:
        optimizer.state.pop(old, None)
    for new, state in states.items():
        optimizer.state[new] = state
    if hasattr(optimizer, "_numel_cache"):
        vars(optimizer)["_numel_cache"] = None


def check_followable(optimizer: Optimizer, params: Iterable[nn.Parameter]) -> None:
    """Raise where an optimizer could not follow a cut of some parameters; to be asked before anything is cut.

    State can be sliced if it is a number, or a tensor with the axes of its parameter; an axis of size one is a mean.

    Args:
        optimizer: Is not changed.
        params: That will be cut; those that the optimizer does not hold are passed over.

    Raises:
        PruningError: naming the state.

    Example:
        >>> weight = nn.Parameter(torch.zeros(3))
        >>> check_followable(torch.optim.SGD([weight], lr=0.1, momentum=0.9), [weight])
    """
    cut = list(params)
    joint = _joint_state(optimizer, cut)
    if joint is not None and optimizer.state.get(joint):
        raise _refusal(f"{type(optimizer).__name__} keeps one state of all parameters together")
    for param in cut:
        _check_sliceable(optimizer.state.get(param, {}), param, where="follow(optimizer=)")


def slice_state(
    state: Mapping[str, Any], old: Tensor, kept: Kept, *, where: str = "follow(optimizer=)"
) -> dict[str, Any]:
    """What an optimizer keeps of one parameter, for its smaller successor.

    Args:
        state: Momenta and numbers by name.
        old: The parameter before; its shape alone is read.
        kept: The positions kept along its axes.
        where: What an error names.

    Raises:
        PruningError: a tensor has neither one entry nor the axes of the parameter.

    Example:
        >>> slice_state({"step": 3, "mean": torch.tensor([1.0, 2.0])}, torch.zeros(2), ((0, torch.tensor([1])),))
        {'step': 3, 'mean': tensor([2.])}
    """
    _check_sliceable(state, old, where=where)
    return {key: _sliced(value, old, kept) for key, value in state.items()}


def _check_sliceable(state: Mapping[str, Any], param: Tensor, *, where: str) -> None:
    for key, value in state.items():
        shape = _unsliceable(value, param)
        if shape is not None:
            raise _refusal(f"{key!r} has {shape} for a parameter of shape {tuple(param.shape)}", where)


def _refusal(got: str, where: str = "follow(optimizer=)") -> PruningError:
    return PruningError(
        f"{where} must hold state with the axes of its parameters; {got}. Nothing was changed. "
        'Drop the state with momentum="reset" in Pruner(...), or with follow(..., reset=True).'
    )


def _joint_state(optimizer: Optimizer, cut: Iterable[nn.Parameter]) -> nn.Parameter | None:
    """The parameter under which an optimizer keeps a state of all of them, if a cut concerns any of these.

    L-BFGS does: flat vectors over all parameters, with the first one as their key.
    """
    together = getattr(optimizer, "_params", None)
    if not isinstance(together, list) or not together:
        return None
    held = {id(param) for param in together}
    return together[0] if any(id(param) in held for param in cut) else None


def _unsliceable(value: Any, param: Tensor) -> str | None:
    """What a state entry is, where it cannot follow a cut along whichever axis of its parameter."""
    if isinstance(value, (list, tuple, dict)):
        inner = value.values() if isinstance(value, dict) else value
        return f"a {type(value).__name__} of tensors" if any(isinstance(item, Tensor) for item in inner) else None
    if not isinstance(value, Tensor) or value.numel() == 1:
        return None
    if value.dim() == param.dim() and _broadcasts(value, param):
        return None
    return f"shape {tuple(value.shape)}"


def _successor(
    replaced: Mapping[nn.Parameter, tuple[nn.Parameter, Kept] | None], old: nn.Parameter
) -> nn.Parameter | None:
    if old not in replaced:
        return old
    successor = replaced[old]
    return None if successor is None else successor[0]


def _sliced(value: Any, old: Tensor, kept: Kept) -> Any:
    """A state entry for the smaller parameter; an axis of size one is a mean over it and stays."""
    if not isinstance(value, Tensor) or value.numel() == 1:
        return value
    axes = [(axis, positions) for axis, positions in kept if value.dim() == old.dim() and value.shape[axis] != 1]
    result = value
    for axis, positions in sorted(axes, key=lambda item: len(item[1]) / max(value.shape[item[0]], 1)):
        result = result.index_select(axis, positions.to(value.device))
    if value.dim() == 4 and not value.is_contiguous() and value.is_contiguous(memory_format=torch.channels_last):
        result = result.contiguous(memory_format=torch.channels_last)
    return result


def held_names(optimizer: Optimizer, model: nn.Module) -> frozenset[str]:
    """The names of the model's parameters that an optimizer holds.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> sorted(held_names(torch.optim.SGD([model.bias], lr=0.1), model))
        ['bias']
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return frozenset(name for name, p in model.named_parameters() if id(p) in held)


def assert_live(
    optimizer: Optimizer, model: nn.Module, *, held: Collection[str] | None = None, foreign: int = 0
) -> None:
    """Raise unless an optimizer holds live parameters of a model only, each once, with state of their shapes.

    Args:
        optimizer: Is not changed.
        model: Whose parameters it trains.
        held: The names that it must hold, no more and no fewer; by default any that are live.
        foreign: How many parameters of other modules it holds beside them, as one that trains a larger system does.

    Raises:
        PruningError: naming what is dead, missing or of a wrong shape, and how to mend it.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> assert_live(torch.optim.SGD(model.parameters(), lr=0.1), model, held=("weight", "bias"))
    """
    names = {id(p): name for name, p in model.named_parameters()}
    params = [p for group in optimizer.param_groups for p in group["params"]]
    found = [names[id(p)] for p in params if id(p) in names]
    dead = len(params) - len(found) - foreign
    mend = "Call follow(optimizer, plan.replaced) after every cut, with the plan that cut_ returned."
    if dead:
        raise PruningError(
            f"The optimizer must hold live parameters only; {dead} of {len(params)} belong to no module. {mend}"
        )
    if len(set(found)) != len(found) or (held is not None and set(found) != set(held)):
        wrong = sorted(set(found) ^ set(held or found)) or sorted({name for name in found if found.count(name) > 1})
        raise PruningError(f"The optimizer must hold each of its parameters once; it does not: {wrong}. {mend}")
    for param in params:
        for key, value in optimizer.state.get(param, {}).items():
            if isinstance(value, Tensor) and value.dim() == param.dim() and not _broadcasts(value, param):
                raise PruningError(
                    f"The optimizer's state must have the shapes of its parameters; {key!r} of "
                    f"{names.get(id(param))!r} has {tuple(value.shape)} for {tuple(param.shape)}. {mend}"
                )


def _broadcasts(value: Tensor, param: Tensor) -> bool:
    return all(a in (1, b) for a, b in zip(value.shape, param.shape, strict=True))
