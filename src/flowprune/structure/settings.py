"""The plain values that modules keep beside their tensors: which of them a cut changed."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from flowprune.core.errors import PruningError

PLAIN = (bool, int, float, str, type(None))
OWN = frozenset(vars(nn.Module()))
"""What every module has; none of it states a size."""


@dataclass(frozen=True)
class Setting:
    """An attribute that changed: ``out_channels`` of a layer, or ``config.hidden_size`` of an object it holds.

    Attributes:
        module: The module's name; empty for the model itself.
        name: Of the attribute, with the name of the object before it where it is not the module's own.
        old: Before.
        new: After.
    """

    module: str
    name: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.module else self.name


def stated(model: nn.Module) -> dict[tuple[str, str], Any]:
    """Numbers, words and tuples of them, by module and attribute; also those of plain objects that modules hold.

    Example:
        >>> stated(nn.Linear(2, 3))["", "in_features"]
        2
    """
    found: dict[tuple[str, str], Any] = {}
    for module_name, module in model.named_modules():
        for name, value in vars(module).items():
            if name in OWN:
                continue
            if _is_plain(value):
                found[module_name, name] = value
            elif _is_holder(value):
                inner = ((f"{name}.{key}", item) for key, item in vars(value).items())
                found.update(((module_name, path), item) for path, item in inner if _is_plain(item))
    return found


def changed(before: Mapping[tuple[str, str], Any], after: Mapping[tuple[str, str], Any]) -> tuple[Setting, ...]:
    """The settings that were there before and are another value after.

    Example:
        >>> changed({("fc", "in_features"): 4}, {("fc", "in_features"): 2})
        (Setting(module='fc', name='in_features', old=4, new=2),)
    """
    return tuple(
        Setting(*key, old, after[key]) for key, old in before.items() if key in after and not same(old, after[key])
    )


def same(a: Any, b: Any) -> bool:
    """Whether two plain values are the same; a list and a tuple of the same values are, as JSON tells no difference.

    Example:
        >>> same((1, 2), [1, 2]), same(1, 1.0), same(float("nan"), float("nan"))
        (True, False, True)
    """
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and repr(a) == repr(b)


def set_(model: nn.Module, settings: Iterable[Setting]) -> None:
    """Give the settings their new values, in place.

    An object that several modules share (a config) becomes one of each module's own where they need other values.

    Raises:
        PruningError: a module or an attribute is not there; some may have been set.
    """
    modules = dict(model.named_modules())
    wanted: dict[tuple[str, str], list[Setting]] = {}
    for setting in settings:
        if setting.module not in modules:
            raise _missing(setting)
        holder, _, _ = setting.name.rpartition(".")
        wanted.setdefault((setting.module, holder), []).append(setting)
    for (module, name), group in wanted.items():
        owner = modules[module]
        target = getattr(owner, name, None) if name else owner
        for setting in group:
            key = setting.name.rpartition(".")[2]
            if not hasattr(target, key):
                raise _missing(setting)
            if same(getattr(target, key), setting.new):
                continue
            if name and not _all_agree(modules, wanted, target, key, setting.new):
                target = copy.copy(target)
                setattr(owner, name, target)
            value = getattr(target, key)
            setattr(target, key, type(value)(setting.new) if isinstance(value, (tuple, list)) else setting.new)


def _all_agree(
    modules: Mapping[str, nn.Module], wanted: Mapping[tuple[str, str], list[Setting]], target: Any, key: str, new: Any
) -> bool:
    """Whether every module that holds an object wants this value in it."""
    for module_name, module in modules.items():
        for name, value in vars(module).items():
            if value is target:
                values = [s.new for s in wanted.get((module_name, name), ()) if s.name == f"{name}.{key}"]
                if not values or not same(values[0], new):
                    return False
    return True


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(item) for item in value)
    return isinstance(value, PLAIN)


def _is_holder(value: Any) -> bool:
    """A plain object with attributes of its own, as a config is."""
    return hasattr(value, "__dict__") and not isinstance(value, (nn.Module, Tensor, type)) and not callable(value)


def _missing(setting: Setting) -> PruningError:
    return PruningError(
        f"The model must have the setting {str(setting)!r}, which the cut changed; it does not. "
        "Build the model that was pruned."
    )
