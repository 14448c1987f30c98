"""The last trace of each live model, so that rounds of pruning do not capture the same graph again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from flowprune.core.fingerprint import fingerprint
from flowprune.structure.example import Example
from flowprune.structure.history import HISTORY
from flowprune.structure.records import Trace
from flowprune.structure.swapping import is_empty
from flowprune.structure.twin import is_of_library

PLAIN = (bool, int, float, complex, str, bytes, type(None), type, Enum, slice, torch.dtype, torch.device, torch.Size)
CONTAINERS = (dict, tuple, list, set, frozenset)
REGISTRIES = frozenset(vars(nn.Module())) | {HISTORY}
"""What every module has: its modes, tensors, submodules and hooks, which are described otherwise; and its past."""
DEPTH, WIDTH = 4, 1000
"""How deep containers and objects within an attribute are described, and up to what length."""


@dataclass(frozen=True, eq=False)
class Remembered:
    """A trace, and what it was made from.

    Attributes:
        key: What the model was.
        signature: Of the inputs.
        example: At most two of the inputs, copied: what the removal is verified on where none are given.
        trace: The trace.
    """

    key: str
    signature: str
    example: Example
    trace: Trace


_TRACES: dict[str, WeakKeyDictionary[nn.Module, Remembered]] = {
    "channels": WeakKeyDictionary(),
    "depth": WeakKeyDictionary(),
}
"""By the kind of their units."""


def remember(model: nn.Module, found: Trace, signature: str, example: Example, *, kind: str = "channels") -> None:
    """Keep a trace of a model as it is now; its earlier one is forgotten."""
    _TRACES[kind][model] = Remembered(_key(model), signature, example, found)


def recall(model: nn.Module, signature: str | None = None, *, kind: str = "channels") -> Remembered | None:
    """The last trace of this very model, if its modules, settings and shapes, and the inputs' shapes, are the same.

    The code that runs may still be another (a function that the forward calls by name): what rests on a recalled
    trace is verified on example inputs.
    """
    entry = _TRACES[kind].get(model)
    if entry is None or signature not in (None, entry.signature) or entry.key != _key(model):
        return None
    return entry


def _key(model: nn.Module) -> str:
    """What a trace depends on: modules, their code, settings and PyTorch's own hooks, names and shapes."""
    described = hashlib.sha256(repr(model).encode())
    for module in model.modules():
        own = {name: value for name, value in vars(module).items() if name not in REGISTRIES}
        hooks = [
            h
            for hooks in (module._forward_hooks, module._forward_pre_hooks)
            for h in hooks.values()
            if is_of_library(h, ("torch",))
        ]
        told = _told((type(module), getattr(type(module), "forward", None), own, hooks), DEPTH + 2)
        described.update(told.encode(errors="replace"))
    return f"{fingerprint(dict(model.named_parameters()))}/{described.hexdigest()}"


def _told(value: object, depth: int) -> str:
    """A value as text: two values of one text make the same graph, as far as can be seen without running them."""
    if isinstance(value, PLAIN):
        return repr(value)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, Tensor):
        return f"{kind} {tuple(value.shape)} {value.dtype}"
    if depth == 0 or (isinstance(value, CONTAINERS) and len(value) > WIDTH):
        return f"{kind}@{id(value)}"
    return kind + (_items(value, depth - 1) if isinstance(value, CONTAINERS) else _code(value, depth - 1))


def _items(value: dict[Any, Any] | list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any], depth: int) -> str:
    """What a plain container holds, in its order if it has one."""
    if isinstance(value, dict):
        return str([(_told(key, depth), _told(item, depth)) for key, item in value.items()])
    told = [_told(item, depth) for item in value]
    return str(told if isinstance(value, (list, tuple)) else sorted(told))


def _code(value: object, depth: int) -> str:
    """A callable or any other object: which one it is, and what it holds."""
    if isinstance(value, MethodType):
        return _told(value.__func__, depth)  # its object is described as a module or an attribute, if it is one
    if isinstance(value, partial):
        return _told((value.func, value.args, value.keywords), depth)
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if not is_empty(cell)]
        code = value.__code__
        named = (value.__module__, value.__qualname__, code.co_code, code.co_names, code.co_consts)
        # The identity alone would not do: the address of a function that is gone is given to the next.
        held = (value.__defaults__, value.__kwdefaults__, *cells)
        return f"@{id(value)}{named}" + str([_told(item, depth - 1) for item in held] if depth else "")
    if isinstance(value, nn.Module):
        return f"@{id(value)}{value!r}"
    return f"@{id(value)}" + _told(getattr(value, "__dict__", None), depth)
