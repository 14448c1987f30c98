"""Other tensors in the places of a model's own: in its modules, and in what these keep beside them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

REGISTRIES = frozenset(vars(nn.Module()))
DEPTH = 4
"""How deep containers and objects within an attribute are looked through."""
OPAQUE = (Tensor, nn.Module, Optimizer, ModuleType, type, FunctionType, MethodType, str, bytes, int, float, complex)
"""What holds no tensor of a model in a place of its own, or follows a cut by itself."""

New = Mapping[int, Tensor]


def swap_(model: nn.Module, new: New) -> list[nn.Module]:
    """Put new tensors in the place of old ones, wherever a model holds these; the modules whose own they were.

    A list, dictionary or plain object that a module keeps as an attribute may hold its parameters a second time; it
    holds the new ones afterwards.

    Args:
        model: Changed in place.
        new: By the ``id`` of the old tensor.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> model.again = [model.weight]
        >>> found = swap_(model, {id(model.weight): nn.Parameter(model.weight.detach().clone())})
        >>> found[0] is model, model.again[0] is model.weight
        (True, True)
    """
    found: list[nn.Module] = []
    for module in model.modules():
        if _swap_own(module, new):
            found.append(module)
    seen: set[int] = set()
    for module in model.modules() if new else ():
        for name, value in list(vars(module).items()):
            if name not in REGISTRIES:
                other = _swapped(value, new, seen, DEPTH)
                if other is not value:
                    module.__dict__[name] = other
    return found


def _swap_own(module: nn.Module, new: New) -> bool:
    found = False
    for store in (module._parameters, module._buffers):
        for key, tensor in store.items():
            if tensor is not None and id(tensor) in new:
                cast("dict[str, Tensor | None]", store)[key] = new[id(tensor)]
                found = True
    return found


def _swapped(value: Any, new: New, seen: set[int], depth: int) -> Any:
    """The value itself, changed inside; another where it is an old tensor, or cannot be changed inside."""
    if id(value) in new:
        return new[id(value)]
    if (
        isinstance(value, OPAQUE)
        or value is None
        or not depth
        or id(value) in seen
        or hasattr(type(value), "follow_cut")
    ):
        return value
    seen.add(id(value))

    def inner(item: Any) -> Any:
        return _swapped(item, new, seen, depth - 1)

    if isinstance(value, dict):
        _swap_items(cast("dict[Any, Any]", value), inner)
    elif isinstance(value, (list, deque)):
        for place, item in enumerate(list(cast("list[Any]", value))):
            other = inner(item)
            if other is not item:
                value[place] = other
    elif isinstance(value, (set, frozenset)):
        return _swapped_set(cast("set[Any]", value), new)
    elif isinstance(value, tuple):
        return _swapped_tuple(cast("tuple[Any, ...]", value), inner)
    elif hasattr(value, "__dict__"):
        _swap_items(value.__dict__, inner)
    return value


def _swap_items(items: dict[Any, Any], inner: Callable[[Any], Any]) -> None:
    keys = [key for key in items if isinstance(key, Tensor) and inner(key) is not key]
    for key, item in list(items.items()):
        other = inner(item)
        if other is not item:
            items[key] = other
    if keys:  # in their order
        renamed = [(inner(key) if isinstance(key, Tensor) else key, item) for key, item in items.items()]
        items.clear()
        items.update(renamed)


def _swapped_set(value: set[Any] | frozenset[Any], new: New) -> Any:
    if not any(id(item) in new for item in value):
        return value
    items = [new.get(id(item), item) for item in value]
    if isinstance(value, frozenset):
        return type(value)(items)
    value.clear()
    value.update(items)
    return value


def _swapped_tuple(value: tuple[Any, ...], inner: Callable[[Any], Any]) -> Any:
    items = [inner(item) for item in value]
    if all(a is b for a, b in zip(items, value, strict=True)):
        return value
    return cast("Any", type(value))(*items) if hasattr(value, "_fields") else type(value)(items)


def out_of_reach(model: nn.Module, names: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """Tensors that functions of a model hold, where none can be put in their place: the module, and the tensor's name.

    Closures, defaults and bound arguments of the functions that are attributes or hooks of its modules.

    Args:
        model: Is not changed.
        names: Of the tensors, by their ``id``.

    Example:
        >>> import torch
        >>> model = nn.Linear(1, 1)
        >>> model.scaled = partial(torch.mul, model.weight)
        >>> list(out_of_reach(model, {id(model.weight): "weight"}))
        [('', 'weight')]
    """
    for path, module in model.named_modules():
        own = [v for n, v in vars(module).items() if n not in REGISTRIES]
        hooks = [h for n, v in vars(module).items() if n.endswith("_hooks") and v for h in v.values()]
        for function in (*own, *hooks):
            for item in _held(function):
                if id(item) in names:
                    yield path, names[id(item)]


def _held(function: object) -> Iterator[object]:
    """What a function holds, and the items of lists and tuples among it."""
    if isinstance(function, partial):
        yield from _flat((*function.args, *function.keywords.values()))
        yield from _held(function.func)
    elif isinstance(function, MethodType):
        yield from _held(function.__func__)
    elif isinstance(function, FunctionType):
        cells = [cell.cell_contents for cell in function.__closure__ or () if not is_empty(cell)]
        yield from _flat((*cells, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()))


def _flat(items: tuple[object, ...]) -> Iterator[object]:
    for item in items:
        yield from cast("tuple[object, ...]", item) if isinstance(item, (list, tuple)) else (item,)


def is_empty(cell: object) -> bool:
    """Whether a closure's variable was never set."""
    try:
        return not hasattr(cell, "cell_contents")
    except ValueError:
        return True
