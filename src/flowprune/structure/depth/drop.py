"""Blocks taken out of their containers, in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from flowprune.core.errors import PruningError
from flowprune.core.units import Layout
from flowprune.structure.depth.names import moved
from flowprune.structure.depth.numbering import Change, Shortened, changes, is_container

Children = Sequence[tuple[nn.Module, dict[str, nn.Module | None]]]
"""Containers, and what each holds."""


@dataclass(frozen=True, eq=False)
class Dropped:
    """What left a model.

    Attributes:
        params: The parameters that it no longer has.
        names: For each parameter of the model before, its name after; None where it is gone.
        children: What each container held before.
        settings: What sets attributes back.
    """

    params: tuple[nn.Parameter, ...]
    names: Mapping[str, str | None]
    children: Children
    settings: tuple[Change, ...]

    def undo(self) -> None:
        """Put everything back, where nothing else was changed since."""
        _undo(self.children, self.settings)


def gone_blocks(layout: Layout, masks: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The paths of the blocks that masks cut.

    Example:
        >>> import torch
        >>> from flowprune.core.units import UnitGroup
        >>> group = UnitGroup("layers", 2, (), kind="depth", modules=("layers.0", "layers.1"))
        >>> gone_blocks({"layers": group}, {"layers": torch.tensor([True, False])})
        ('layers.1',)
    """
    return tuple(
        path
        for name, mask in masks.items()
        if layout[name].kind == "depth"
        for path, stays in zip(layout[name].modules, mask.tolist(), strict=True)
        if not stays
    )


def drop_(model: nn.Module, gone: Sequence[str]) -> Dropped:
    """Take blocks out of a model in place: later ones move up, and numbers that count layers follow.

    Children that their container has by number are numbered anew; those it has by name keep it.

    Args:
        model: Changed, after everything has been checked.
        gone: Paths of the blocks.

    Raises:
        PruningError: a path is no child of a container of this model.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1))
        >>> drop_(model, ["1"]).names["2.bias"], len(model)
        ('1.bias', 2)
    """
    before = dict(model.named_parameters())
    modules = dict(model.named_modules())
    places: dict[str, list[str]] = {}
    for path in gone:
        container, _, key = path.rpartition(".")
        if path not in modules or not is_container(modules[container]):
            raise PruningError(
                f"cut_(layout=) must be the layout of this model; it takes out block {path!r}, which the model does "
                "not have. Score and select again with Depth(example_inputs=...)."
            )
        places.setdefault(container, []).append(key)
    shortened = [_shortened(modules[path], path, keys) for path, keys in places.items()]
    follow = changes(model, shortened)
    children = tuple((modules[path], dict(modules[path]._modules)) for path in places)
    for container, keys in places.items():
        _take_out(modules[container], container, keys)
    settings: list[Change] = []
    for change in follow:
        try:
            settings.insert(0, change.make())
        except Exception as error:
            _undo(children, settings)
            raise PruningError(
                f"cut_() must be able to set what counts the layers; {change.name!r} of a "
                f"{type(change.holder).__name__} raised {type(error).__name__}: {error}. Nothing was changed."
            ) from error
    alive = {id(param) for param in model.parameters()}
    names = {name: moved(name, gone) if id(param) in alive else None for name, param in before.items()}
    params = tuple(param for param in before.values() if id(param) not in alive)
    return Dropped(params, names, children, tuple(settings))


def _shortened(container: nn.Module, path: str, keys: Sequence[str]) -> Shortened:
    children = [(key, child) for key, child in container._modules.items() if child is not None]
    gone = frozenset(place for place, (key, _) in enumerate(children) if key in keys)
    return Shortened(path, tuple(child for _, child in children), gone)


def _take_out(container: nn.Module, path: str, keys: Sequence[str]) -> None:
    prefix = f"{path}." if path else ""
    gone = [prefix + key for key in keys]
    left = {
        moved(prefix + key, gone).removeprefix(prefix): child
        for key, child in container._modules.items()
        if key not in keys
    }
    _hold(container, left)


def _undo(children: Children, settings: Sequence[Change]) -> None:
    for container, held in children:
        _hold(container, held)
    for setting in settings:
        setting.make()


def _hold(container: nn.Module, children: Mapping[str, nn.Module | None]) -> None:
    container._modules.clear()
    container._modules.update(children)
