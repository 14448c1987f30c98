"""The plan: which model was pruned, by what operations, and whether another model is of that architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from torch import Tensor, nn

from flowprune.core.errors import PruningError, invalid
from flowprune.masks import masks_of
from flowprune.plan.operations import OPERATIONS, Masking
from flowprune.structure.architecture import Architecture
from flowprune.structure.history import Dropping, Operation, Removal, composed, history_of
from flowprune.structure.settings import same, stated


@dataclass(frozen=True, eq=False)
class Plan:
    """A cut of an architecture: done again, it makes the same smaller model of any weights.

    Attributes:
        dense: Names and shapes of the tensors before.
        operations: In order, each in coordinates of its time; see :data:`flowprune.plan.OPERATIONS`.
        model_class: Module and name of the model's class.
        measure: The name of the measure, where it is known.
        sparsity: Fraction of the units removed, where it is known.
        seeds: Seeds by what they were for.
        versions: Of flowprune and PyTorch, when it was saved.
    """

    dense: Architecture
    operations: tuple[Operation, ...]
    model_class: str = ""
    measure: str | None = None
    sparsity: float | None = None
    seeds: Mapping[str, int] = field(default_factory=dict[str, int])
    versions: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def units(self) -> dict[str, tuple[int, int]]:
        """How many units of each group, and weights of each masked parameter, are kept, of how many."""
        found: dict[str, tuple[int, int]] = {}
        for operation in self.operations:
            if isinstance(operation, Dropping):
                after = ((operation.name_after(name), units) for name, units in found.items())
                found = {name: units for name, units in after if name is not None}
            if isinstance(operation, (Removal, Dropping)):
                found |= {n: (count, found.get(n, (count, of))[1]) for n, (count, of) in operation.units.items()}
        return {**{name: (int(mask.sum()), mask.numel()) for name, mask in self.masks.items()}, **found}

    @property
    def masks(self) -> dict[str, Tensor]:
        """The masks that are held, of the shapes of the pruned model's parameters, True = kept."""
        return {name: mask for op in self.operations if isinstance(op, Masking) for name, mask in op.masks.items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all tensors after."""
        return shapes_after(self.dense, self.operations)

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters after."""
        shapes, after = self.shapes, (name_after(name, self.operations) for name in self.dense.parameters)
        return {name: shapes[name] for name in after if name is not None}

    @property
    def fingerprint(self) -> str:
        """Of the model after; that before is ``dense.fingerprint``."""
        return Architecture(self.parameters).fingerprint


def plan_of(model: nn.Module) -> Plan:
    """The plan of a model as it stands: what was removed from it, and what is held at zero in it.

    Raises:
        PruningError: something other than flowprune changed names or shapes of its tensors.

    Example:
        >>> plan_of(nn.Linear(2, 3)).operations
        ()
    """
    plan = past_of(model)
    return replace(plan, operations=composed(plan.operations))


def past_of(model: nn.Module) -> Plan:
    """The plan of a model with every round of its own, where :func:`plan_of` makes one of those in a row."""
    history, masks = history_of(model), held_masks(model)
    _require_recorded(model, history.dense, history.operations)
    operations = (*history.operations, Masking(masks)) if masks else history.operations
    return Plan(history.dense, operations, f"{type(model).__module__}.{type(model).__qualname__}")


def held_masks(model: nn.Module) -> dict[str, Tensor]:
    """The masks that hold on a model or on parts of it, by the names of the whole."""
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        found.update({f"{name}.{key}" if name else key: mask.cpu() for key, mask in masks_of(module).items()})
    return found


def name_after(name: str, operations: Sequence[Operation]) -> str | None:
    """The name of a tensor after some operations; None where it is gone.

    Example:
        >>> name_after("layers.4.weight", [Dropping(("layers.0",)), Dropping(("layers.1", "layers.2"))])
        'layers.1.weight'
    """
    found: str | None = name
    for operation in operations:
        if isinstance(operation, Dropping) and found is not None:
            found = operation.name_after(found)
    return found


def shapes_after(dense: Architecture, operations: Sequence[Operation]) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of an architecture after some operations."""
    shapes = dense.tensors
    for operation in operations:
        shapes = OPERATIONS[operation.kind].reshape(shapes, operation)
    return shapes


def require_same(where: str, plan: Plan, model: nn.Module) -> None:
    """Raise where a model is not of the architecture that a plan was made for; nothing is changed.

    Raises:
        ValueError: naming the first tensor or setting that differs.
    """
    wrong = list(plan.dense.differences(Architecture.of(model)))
    if wrong:
        name, planned, here = wrong[0]
        more = f", and {len(wrong) - 1} more tensors differ" if len(wrong) > 1 else ""
        raise ValueError(
            f"{where} must be of the architecture that the plan was made for; got {name} {_shape(here)}, "
            f"{_shape(planned)} in the plan{more}. Pass the {plan.model_class or 'model'} as it was before the cut."
        )
    known, first = stated(model), dict[tuple[str, str], object]()
    # Once blocks are gone, other modules have their names; what counts the blocks follows from what is there.
    for operation in takewhile(lambda operation: not isinstance(operation, Dropping), plan.operations):
        for setting in operation.settings if isinstance(operation, Removal) else ():
            key = setting.module, setting.name
            if first.setdefault(key, setting.old) is setting.old and not same(known.get(key), setting.old):
                rule = f"a model in which {setting} is {setting.old!r}, as in the one that was pruned"
                raise invalid(where, rule, known.get(key))


def _require_recorded(model: nn.Module, dense: Architecture, operations: Sequence[Operation]) -> None:
    """Raise where what is recorded does not lead from the dense model to this one."""
    now, recorded = Architecture.of(model).tensors, shapes_after(dense, operations)
    for name in dict.fromkeys((*now, *recorded)):
        if now.get(name) != recorded.get(name):
            raise PruningError(
                f"A plan tells of what flowprune cut; {name!r} is {_shape(now.get(name))} in the model, and would be "
                f"{_shape(recorded.get(name))} by what was recorded of it. Replace or resize layers before pruning."
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {shape}"
