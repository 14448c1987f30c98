"""What was done to a model since it was built: a record that goes with it, so that it can be saved and done again.

The record is an attribute of the model, beside its tensors: ``copy.deepcopy`` takes it along, a state dict does not
hold it. It is small: the positions kept along each axis that was cut, no weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, TypeAlias

from torch import Tensor, nn

from flowprune.core.errors import PruningError
from flowprune.structure.architecture import Architecture
from flowprune.structure.depth.names import moved
from flowprune.structure.settings import Setting, changed, stated

HISTORY = "_flowprune_history"
Kept: TypeAlias = tuple[tuple[int, Tensor], ...]
Slices: TypeAlias = tuple[tuple[str, int, Tensor], ...]


class Operation(Protocol):
    """One thing done to a model; its ``kind`` names the row of :data:`flowprune.plan.OPERATIONS` that can redo it."""

    kind: ClassVar[str]


@dataclass(frozen=True, eq=False)
class Removal:
    """Positions were cut out of tensors.

    Attributes:
        kept: For each tensor that shrank, the axes and the positions kept along them, int64 and ascending.
        settings: Attributes that changed with it.
        units: For each group, how many of its units were kept, of how many.
        zeroed: For each parameter, the axes along which the removed slices make what was removed: these are zero in
            the masked model. Along the others, slices read it.
    """

    kind: ClassVar[str] = "remove"
    kept: Mapping[str, Kept]
    settings: tuple[Setting, ...] = ()
    units: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    zeroed: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])


@dataclass(frozen=True, eq=False)
class Dropping:
    """Whole modules were taken out of their containers, and what counts or numbers them followed.

    Attributes:
        modules: Their paths; later children of their containers have moved up.
        units: For each group, how many of its blocks were kept, of how many.
    """

    kind: ClassVar[str] = "drop"
    modules: tuple[str, ...]
    units: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def name_after(self, name: str) -> str | None:
        """The name that a module or tensor has afterwards; None where it is gone.

        Example:
            >>> dropping = Dropping(("layers.1",))
            >>> dropping.name_after("layers.2.weight"), dropping.name_after("layers.1.weight")
            ('layers.1.weight', None)
        """
        return None if any(f"{name}.".startswith(f"{path}.") for path in self.modules) else moved(name, self.modules)


@dataclass(frozen=True, eq=False)
class Zeroing:
    """Slices of parameters were set to zero once and stayed in place.

    Attributes:
        slices: Parameter name, axis, positions.
    """

    kind: ClassVar[str] = "zero"
    slices: Slices


@dataclass(frozen=True, eq=False)
class History:
    """A model before anything was done to it, and the operations since, in order, each in coordinates of its time."""

    dense: Architecture
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True, eq=False)
class Moment:
    """A model just before an operation."""

    architecture: Architecture
    stated: Mapping[tuple[str, str], object]

    @classmethod
    def of(cls, model: nn.Module) -> Moment:
        """As it is now."""
        return cls(Architecture.of(model), stated(model))

    def settings(self, model: nn.Module) -> tuple[Setting, ...]:
        """Attributes of the model that have changed since."""
        return changed(self.stated, stated(model))


def record_(model: nn.Module, before: Moment, operation: Operation) -> None:
    """Add an operation to the record of a model, which goes with it from here on."""
    known: History | None = model.__dict__.get(HISTORY)
    history = History(before.architecture) if known is None else known
    set_history_(model, replace(history, operations=(*history.operations, operation)))


def set_history_(model: nn.Module, history: History) -> None:
    """Give a model its record."""
    model.__dict__[HISTORY] = history


def history_of(model: nn.Module) -> History:
    """What was done to a model, or to parts of it; of one that nothing was done to, its architecture as it is.

    Raises:
        PruningError: it was cut as a whole and in part, so that the order is not known.

    Example:
        >>> history_of(nn.Linear(2, 3)).operations
        ()
    """
    found = {name: vars(module)[HISTORY] for name, module in model.named_modules() if HISTORY in vars(module)}
    if "" in found and len(found) == 1:
        return found[""]
    if any(a == "" or b.startswith(f"{a}.") for a in found for b in found if a != b):
        raise PruningError(
            f"A model must be cut as a whole or in parts that do not overlap; this one was cut at {sorted(found)}. "
            "Save, load and replay one of them."
        )
    parts = {f"{name}.": history for name, history in found.items()}
    dense = Architecture.of(model)
    for prefix, part in parts.items():
        dense = _with_part(dense, prefix, part)
    return History(dense, tuple(_under(prefix, op) for prefix, part in parts.items() for op in part.operations))


def _with_part(now: Architecture, prefix: str, part: History) -> Architecture:
    """A whole of which one part is as it was before anything was done to it."""
    dense = part.dense.under(prefix)
    if not any(isinstance(operation, Dropping) for operation in part.operations):
        return Architecture(
            {name: dense.tensors.get(name, shape) for name, shape in now.parameters.items()},
            {name: dense.tensors.get(name, shape) for name, shape in now.buffers.items()},
            now.ties,
        )
    return Architecture(  # names are others too
        {**{n: shape for n, shape in now.parameters.items() if not n.startswith(prefix)}, **dense.parameters},
        {**{n: shape for n, shape in now.buffers.items() if not n.startswith(prefix)}, **dense.buffers},
        {**{n: first for n, first in now.ties.items() if not n.startswith(prefix)}, **dense.ties},
    )


def _under(prefix: str, operation: Operation) -> Operation:
    """An operation on a part, in the names of the whole."""
    if isinstance(operation, Removal):
        module = prefix.removesuffix(".")
        settings = tuple(replace(s, module=f"{prefix}{s.module}" if s.module else module) for s in operation.settings)
        kept = {prefix + name: axes for name, axes in operation.kept.items()}
        units = {prefix + name: count for name, count in operation.units.items()}
        return Removal(kept, settings, units, {prefix + name: axes for name, axes in operation.zeroed.items()})
    if isinstance(operation, Zeroing):
        return Zeroing(tuple((prefix + name, axis, positions) for name, axis, positions in operation.slices))
    if isinstance(operation, Dropping):
        units = {prefix + name: count for name, count in operation.units.items()}
        return Dropping(tuple(prefix + path for path in operation.modules), units)
    raise PruningError(
        f"A part of a model was changed by {operation.kind!r}, which is known of whole models alone. "
        "Do it to the model itself."
    )


def composed(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """The same in as few operations as possible: removals in a row become one, slices are zeroed before it.

    Positions are then those of the first model of the row.

    Example:
        >>> import torch
        >>> first, second = ({"w": ((0, torch.tensor(kept)),)} for kept in ([1, 2, 4], [0, 2]))
        >>> composed([Removal(first), Removal(second)])[0].kept["w"]
        ((0, tensor([1, 4])),)
    """
    result: list[Operation] = []
    zeroed: Slices = ()
    removal = Removal({})
    for operation in (*operations, None):
        if isinstance(operation, Zeroing):
            zeroed += tuple((name, axis, _before(removal, name, axis, at)) for name, axis, at in operation.slices)
        elif isinstance(operation, Removal):
            removal = _joined(removal, operation)
        else:
            result += [Zeroing(zeroed)] if zeroed else []
            result += [removal] if removal.kept else []
            zeroed, removal = (), Removal({})
            result += [operation] if operation is not None else []
    return tuple(result)


def _before(removal: Removal, name: str, axis: int, positions: Tensor) -> Tensor:
    """Positions after a removal as those before it."""
    for cut, kept in removal.kept.get(name, ()):
        if cut == axis:
            return kept[positions.cpu()]
    return positions


def _joined(first: Removal, second: Removal) -> Removal:
    kept: dict[str, dict[int, Tensor]] = {name: dict(axes) for name, axes in first.kept.items()}
    for name, axes in second.kept.items():
        for axis, positions in axes:
            kept.setdefault(name, {})[axis] = _before(first, name, axis, positions)
    old = {(s.module, s.name): s.old for s in (*second.settings, *first.settings)}
    new = {(s.module, s.name): s.new for s in (*first.settings, *second.settings)}
    units = {name: (count, first.units.get(name, (count, of))[1]) for name, (count, of) in second.units.items()}
    zeroed = {
        name: tuple(sorted({*first.zeroed.get(name, ()), *second.zeroed.get(name, ())}))
        for name in (*first.zeroed, *second.zeroed)
    }
    return Removal(
        {name: tuple(axes.items()) for name, axes in kept.items()},
        changed(old, new),
        {**first.units, **units},
        zeroed,
    )
