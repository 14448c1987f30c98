"""What was done to a model since tensors of it had their shapes: the operations that they have yet to follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from torch import nn

from flowprune.core.errors import invalid
from flowprune.plan.folder import read_plan
from flowprune.plan.operations import OPERATIONS
from flowprune.plan.records import Plan, name_after, past_of
from flowprune.plan.saving import model_of, unwrapped
from flowprune.prune import Pruner, PruneResult
from flowprune.structure.history import Dropping, Kept, Operation, Removal, composed

Cut: TypeAlias = nn.Module | PruneResult | Pruner | Plan | Path | str
"""A pruned model, what pruned it, its plan, or where that is saved."""
WRAPPERS = ("", "module.", "_orig_mod.", "module._orig_mod.")
"""What may stand before the names of a model's tensors, where they were saved from inside of something."""


def past(where: str, cut: Cut) -> Plan:
    """The plan that is meant, with every round of its own where a model is given.

    Raises:
        ValueError: it is nothing that has a plan.
    """
    if isinstance(cut, Plan):
        return cut
    if isinstance(cut, (Path, str)):
        return read_plan(cut)
    if not isinstance(cut, (nn.Module, PruneResult, Pruner)):
        raise invalid(where, "a pruned model, what fp.prune returned, a plan or its folder", type(cut).__name__)
    return past_of(unwrapped(model_of(where, cut)))


def since(
    plan: Plan, shapes: Mapping[str, tuple[int, ...]], *, where: str, whole: bool = False
) -> tuple[Operation, ...]:
    """The operations after the first moment at which the model's tensors had these shapes.

    Args:
        plan: Of the model.
        shapes: Of some or all of its tensors.
        where: What an error names.
        whole: Whether all parameters of the model at that moment must be among these, and others do not count. Needed
            where blocks were taken out: a part of the tensors looks the same before and after.

    Raises:
        ValueError: the tensors never had these shapes; the first that differs at the end.
    """
    now, params = plan.dense.tensors, set(plan.dense.parameters)
    for done in range(len(plan.operations) + 1):
        there = {name: now[name] for name in params} if whole else shapes
        if all(now.get(name) == shape == shapes.get(name) for name, shape in there.items()):
            return plan.operations[done:]
        if done < len(plan.operations):
            operation = plan.operations[done]
            now = OPERATIONS[operation.kind].reshape(now, operation)
            after = (name_after(name, (operation,)) for name in params)
            params = {name for name in after if name is not None}
    dense = plan.dense.tensors
    missing = sorted(params - shapes.keys()) if whole else ()
    if missing:
        raise invalid(where, "of all parameters of a model that loses blocks", f"none for {missing[0]!r}")
    name = next(n for n in (params if whole else shapes) if now.get(n) != shapes[n] or dense.get(n) != shapes[n])
    if name not in dense and name not in now:
        raise invalid(where, f"of the model that was cut, which has no {name!r}", shapes[name])
    rule = f"of the model that was cut, in which {name} was {dense.get(name)} and is {now.get(name)}"
    raise invalid(where, rule, shapes[name])


def drops(plan: Plan) -> bool:
    """Whether blocks are taken out, so that tensors have other names afterwards."""
    return any(isinstance(operation, Dropping) for operation in plan.operations)


def followed(name: str, operations: Iterable[Operation]) -> tuple[str, Kept] | None:
    """The name of a tensor after some operations, and the positions kept of it; None where it is gone.

    Example:
        >>> import torch
        >>> removal = Removal({"1.w": ((0, torch.tensor([0, 2])),)})
        >>> followed("1.w", [removal, Dropping(("0",))]), followed("0.w", [removal, Dropping(("0",))])
        (('0.w', ((0, tensor([0, 2])),)), None)
    """
    removals: list[Operation] = []
    found: str | None = name
    for operation in operations:
        if isinstance(operation, Removal) and found in operation.kept:
            removals.append(Removal({name: operation.kept[found]}))
        elif isinstance(operation, Dropping):
            found = operation.name_after(found)
            if found is None:
                return None
    return found, kept_by(removals).get(name, ())


def kept_by(operations: Iterable[Operation]) -> dict[str, Kept]:
    """Positions kept by all removals among some operations, by tensor."""
    removals = composed([operation for operation in operations if isinstance(operation, Removal)])
    return {name: axes for removal in removals if isinstance(removal, Removal) for name, axes in removal.kept.items()}


def prefix_of(plan: Plan, names: Iterable[str], *, where: str) -> str:
    """What stands before the model's own names.

    Raises:
        ValueError: none of the names is one of the model's.
    """
    given, own = set(names), (*plan.dense.tensors, *plan.dense.ties)
    for prefix in WRAPPERS:
        if any(prefix + name in given for name in own):
            return prefix
    raise invalid(where, f"of tensors by the model's names ({', '.join(own[:3])}, ...)", sorted(given)[:3])
