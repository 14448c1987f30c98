"""Which modules may be blocks: children of a container that own what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass, replace
from typing import Final, cast

import torch
from torch import Tensor, nn

from flowprune.core.units import Member, UnitGroup
from flowprune.structure.depth.numbering import is_container

BY_NAME: Final = "blocks of an nn.ModuleDict are not taken out: the code may ask for each by its name"


@dataclass(frozen=True, eq=False)
class Candidate:
    """A child of a container.

    Attributes:
        container: Path of the container.
        path: Of the child.
        module: The child.
        shared: What it shares with modules outside it, or else speaks against it at once, in words; None where nothing.
    """

    container: str
    path: str
    module: nn.Module
    shared: str | None


def candidates(model: nn.Module) -> list[Candidate]:
    """The children of containers that have parameters, in the order of the modules.

    A plain container is no block, its children are; nor is a single layer of PyTorch, which adds nothing to its input.
    Children of an ``nn.ModuleDict`` that hold no other candidates are named, and not taken out.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.TransformerEncoderLayer(2, 1, 4), nn.ReLU())
        >>> [candidate.path for candidate in candidates(model)]
        ['1']
    """
    names = {module: path for path, module in model.named_modules()}
    users: dict[int, list[nn.Module]] = {}
    for module in names:
        for child in module._modules.values():
            if child is not None:
                users.setdefault(id(child), []).append(module)
        for param in module._parameters.values():
            if param is not None:
                users.setdefault(id(param), []).append(module)
    found: list[Candidate] = []
    for container, path in names.items():
        for key, child in container._modules.items() if is_container(container) else ():
            if child is not None and _may_be_block(child):
                full = f"{path}.{key}" if path else key
                found.append(Candidate(path, full, child, _shared(child, container, users, names)))
    return [*found, *_named(names, [block.path for block in found])]


def _named(names: dict[nn.Module, str], others: list[str]) -> Iterator[Candidate]:
    """What the code asks for by name."""
    for container, path in names.items():
        for key, child in container._modules.items() if isinstance(container, nn.ModuleDict) else ():
            full = f"{path}.{key}" if path else key
            inner = any(f"{other}.".startswith(f"{full}.") or full.startswith(f"{other}.") for other in others)
            if not inner and _may_be_block(child):
                yield Candidate(path, full, child, BY_NAME)


def beside(model: nn.Module, container: str) -> str | None:
    """What has as many entries as a container, in the module that holds it: one for each block, as it seems.

    Example:
        >>> model = nn.Module()
        >>> model.blocks, model.scales = nn.ModuleList([nn.ReLU(), nn.ReLU()]), nn.Parameter(torch.ones(2))
        >>> beside(model, "blocks")
        "'scales' beside it has 2 entries too, one for each block as it seems, and would lose none"
    """
    parent, _, own = container.rpartition(".")
    holder, size = model.get_submodule(parent), len(model.get_submodule(container)._modules)
    plain = {name: value for name, value in vars(holder).items() if isinstance(value, (list, tuple))}
    held = {**holder._modules, **holder._parameters, **holder._buffers, **plain}
    for name, value in held.items() if size > 1 and container else ():
        if name != own and _entries(value) == size:
            full = f"{parent}.{name}" if parent else name
            return f"{full!r} beside it has {size} entries too, one for each block as it seems, and would lose none"
    return None


def _entries(value: object) -> int:
    """How many entries a list or a tensor has; 0 where it is none."""
    if isinstance(value, Tensor):
        return len(value) if value.dim() else 0
    plain = (nn.ModuleList, nn.ModuleDict, nn.Sequential, nn.ParameterList, list, tuple)
    return len(cast("Sized", value)) if isinstance(value, plain) else 0


def _may_be_block(module: nn.Module | None) -> bool:
    if module is None or next(module.parameters(), None) is None:
        return False
    plain = type(module).forward in (nn.Sequential.forward, nn.ModuleList.forward, nn.ModuleDict.forward)
    layer = type(module).__module__.startswith("torch.nn.") and not module._modules
    return not plain and not layer


def _shared(
    block: nn.Module, container: nn.Module, users: dict[int, list[nn.Module]], names: dict[nn.Module, str]
) -> str | None:
    """What is used outside the block as well."""
    inside = set(block.modules())
    for path, module in block.named_modules():
        others = [user for user in users.get(id(module), ()) if user not in inside]
        if module is block:
            others.remove(container)
        if others:
            return f"{path or 'the block itself'} is used by {names[others[0]] or 'the model'!r} too"
    for name, param in block.named_parameters():
        others = [user for user in users[id(param)] if user not in inside]
        if others:
            return f"its {name} is used by {names[others[0]] or 'the model'!r} too"
    return None


def group_of(container: str, blocks: list[Candidate], *, least: int) -> UnitGroup:
    """The blocks of a container as units, of which every parameter is scored and zeroed.

    Parameters of norms are members twice: among all the weights of the block, and as its norms, for measures that read
    these alone; not if some block has none, which would score zero. A parameter without an axis stays as it is.
    """
    normed = all(any(_norms(block.module)) for block in blocks)
    members: list[Member] = []
    for unit, block in enumerate(blocks):
        norms = set(_norms(block.module))
        for name, param in block.module.named_parameters():
            if param.dim():
                whole = _whole(f"{block.path}.{name}", param, unit)
                members += [whole, replace(whole, role="norm")] if normed and name in norms else [whole]
    paths = tuple(block.path for block in blocks)
    return UnitGroup(container, len(blocks), tuple(members), kind="depth", modules=paths, least=least)


def _whole(name: str, param: Tensor, unit: int) -> Member:
    size = param.shape[0]
    return Member(name, 0, torch.arange(size), torch.full((size,), unit), "weight")


def _norms(block: nn.Module) -> list[str]:
    """The parameters of normalisation layers, known by the names of their classes."""
    return [
        f"{path}.{name}" if path else name
        for path, module in block.named_modules()
        if "norm" in type(module).__name__.lower()
        for name, param in module.named_parameters(recurse=False)
        if param.dim() == 1
    ]
