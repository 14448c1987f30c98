"""What was done to a model since tensors of it had their shapes: the operations that they have yet to follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from torch import nn

from flowprune.core.errors import invalid
from flowprune.plan.folder import read_plan
from flowprune.plan.operations import OPERATIONS
from flowprune.plan.records import Plan, past_of
from flowprune.plan.saving import unwrapped
from flowprune.structure.history import Kept, Operation, Removal, composed

Cut: TypeAlias = nn.Module | Plan | Path | str
"""A pruned model, its plan, or where that is saved."""
WRAPPERS = ("", "module.", "_orig_mod.", "module._orig_mod.")
"""What may stand before the names of a model's tensors, where they were saved from inside of something."""


def past(cut: Cut) -> Plan:
    """The plan that is meant, with every round of its own where a model is given."""
    if isinstance(cut, Plan):
        return cut
    return past_of(unwrapped(cut)) if isinstance(cut, nn.Module) else read_plan(cut)


def since(plan: Plan, shapes: Mapping[str, tuple[int, ...]], *, where: str) -> tuple[Operation, ...]:
    """The operations after the first moment at which the model's tensors had these shapes.

    Args:
        plan: Of the model.
        shapes: Of some or all of its tensors.
        where: What an error names.

    Raises:
        ValueError: the tensors never had these shapes; the first that differs at the end.
    """
    now = plan.dense.tensors
    for done in range(len(plan.operations) + 1):
        if all(now.get(name) == shape for name, shape in shapes.items()):
            return plan.operations[done:]
        if done < len(plan.operations):
            operation = plan.operations[done]
            now = OPERATIONS[operation.kind].reshape(now, operation)
    dense = plan.dense.tensors
    name = next(n for n, shape in shapes.items() if now.get(n) != shape or dense.get(n) != shape)
    rule = f"of the model that was cut, in which {name} was {dense.get(name)} and is {now.get(name)}"
    raise invalid(where, rule, shapes[name])


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
