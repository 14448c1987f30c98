"""Numbers that modules and configurations keep about their layers: which one it is, how many there are.

Such as ``layer_idx`` of an attention layer, and ``num_hidden_layers``, ``layer_types`` or ``depths`` of a Hugging Face
configuration. They are found by name and by value together, and what follows from them is tried before a cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

NUMBER = re.compile(r"^_?((layer|block|stage)_?)?(idx|index|id|number|num|no)$")
"""Attributes that say which layer a module is."""
COUNT = re.compile(r"(^|_)(layers?|blocks?|depth)$")
"""Attributes that say how many layers there are."""
STAGES = "depths"
"""The attribute that says how many layers each stage has."""


@dataclass(frozen=True, eq=False)
class Change:
    """An attribute and its new value."""

    holder: object
    name: str
    value: object

    def make(self) -> Change:
        """Set it; the change that sets it back."""
        before = getattr(self.holder, self.name)
        setattr(self.holder, self.name, self.value)
        return Change(self.holder, self.name, before)


@dataclass(frozen=True, eq=False)
class Shortened:
    """A container that loses children.

    Attributes:
        path: Of the container.
        children: All of them, in order.
        gone: The places among them of those that go.
    """

    path: str
    children: tuple[nn.Module, ...]
    gone: frozenset[int]

    @property
    def size(self) -> int:
        """How many children there are before."""
        return len(self.children)

    def left(self, items: Sequence[Any]) -> list[Any]:
        """The items, one for each child, of the children that stay."""
        return [item for place, item in enumerate(items) if place not in self.gone]


def changes(model: nn.Module, shortened: Sequence[Shortened]) -> list[Change]:
    """The attributes that must follow when containers of a model lose children; nothing is changed yet.

    Example:
        >>> block = nn.TransformerEncoderLayer(4, 1, 4)
        >>> model = nn.TransformerEncoder(block, 3, enable_nested_tensor=False)
        >>> [(c.name, c.value) for c in changes(model, [Shortened("layers", tuple(model.layers), frozenset({1}))])]
        [('num_layers', 2)]
    """
    sizes = {path: len(module._modules) for path, module in model.named_modules() if is_container(module)}
    found: list[Change] = []
    stages: dict[int, list[int]] = {}  # several stages of one list
    for item in shortened:
        found += _numbers(item)
        for scope, holder in _holders(model, item):
            found += _counts(holder, item, scope, sizes, stages)
    return found


def is_container(module: nn.Module) -> bool:
    """Whether blocks are looked for among the children of a module."""
    return isinstance(module, (nn.Sequential, nn.ModuleList))


def _numbers(item: Shortened) -> Iterator[Change]:
    """Attributes that number the children in their order, from whichever number on, moved up."""
    table: dict[tuple[str, str], list[tuple[int, nn.Module, int]]] = {}
    for place, child in enumerate(item.children):
        for path, module in child.named_modules():
            for name, value in vars(module).items():
                if type(value) is int and NUMBER.search(name):
                    table.setdefault((path, name), []).append((place, module, value))
    for (_, name), entries in table.items():
        if len(entries) < 2 or len({value - place for place, _, value in entries}) > 1:
            continue
        for place, module, value in entries:
            before = sum(other < place for other in item.gone)
            if before and place not in item.gone:
                yield Change(module, name, value - before)


def _holders(model: nn.Module, item: Shortened) -> list[tuple[str, object]]:
    """What may count the children, with the path below which it counts: modules around them, and configurations."""
    parts = item.path.split(".") if item.path else []
    around = [".".join(parts[:i]) for i in range(len(parts) + 1)]
    inside = [module for child in item.children for module in child.modules()]
    modules = [(path, model.get_submodule(path)) for path in around]
    found: dict[int, tuple[str, object]] = {id(module): (path, module) for path, module in modules}
    for path, module in [*modules, *((item.path, module) for module in inside)]:
        config = vars(module).get("config")
        if config is not None and hasattr(config, "__dict__") and not isinstance(config, (nn.Module, type)):
            found.setdefault(id(config), (path, config))
    return list(found.values())


def _counts(
    holder: object, item: Shortened, scope: str, sizes: Mapping[str, int], stages: dict[int, list[int]]
) -> Iterator[Change]:
    """Counts and lists by layer that are about these children."""
    for name, value in vars(holder).items():
        if name == STAGES and isinstance(value, (list, tuple)):
            stage = next((int(part) for part in reversed(item.path.split(".")) if part.isdecimal()), -1)
            if 0 <= stage < len(value) and value[stage] == item.size:
                counted = stages.setdefault(id(holder), list(value))
                counted[stage] = item.size - len(item.gone)
                yield Change(holder, name, type(value)(counted))
            continue
        if _about(name, item.size, scope, sizes) != item.path:
            continue
        if type(value) is int and value == item.size and COUNT.search(name):
            yield Change(holder, name, item.size - len(item.gone))
        elif isinstance(value, (list, tuple)) and len(value) == item.size and "layer" in name:
            yield Change(holder, name, type(value)(item.left(value)))


def _about(name: str, size: int, scope: str, sizes: Mapping[str, int]) -> str | None:
    """The container that a count is about: of those of its size below the holder, the outermost one."""
    fit = [path for path, count in sizes.items() if count == size and _within(path, scope)]
    for word in ("encoder", "decoder"):
        if word in name:
            fit = [path for path in fit if word in path]
    return min(fit, key=lambda path: len(path.split(".")), default=None)


def _within(path: str, scope: str) -> bool:
    return not scope or path == scope or path.startswith(f"{scope}.")
