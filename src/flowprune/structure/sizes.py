"""Which attributes of a model's modules count its channels."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import numpy as np
from torch import nn
from torch.fx import Node
from torch.nn.modules.batchnorm import _NormBase

from flowprune.core.units import Kind, Layout
from flowprune.structure.atoms import Ints
from flowprune.structure.capture import Captured
from flowprune.structure.grouping import groups
from flowprune.structure.ledger import Ledger
from flowprune.structure.lessons import Attribute, Spot
from flowprune.structure.trial import Units
from flowprune.structure.value import Dim

Place = tuple[Spot, int]
Sizes = dict[Attribute, Place]

SIZE: Final = re.compile(r"size|split|width|dim|heads?|channels|features")
"""Words that speak of a size."""
PLACE: Final = re.compile(r"(^|_)(idx|index|layers?|depth|id|seed|stage|level)($|_)")
"""Words that speak of a place or of a number of layers, which is never one of channels."""

TOLD: Final[dict[str, Kind]] = {
    "num_heads": "heads",
    "num_attention_heads": "heads",
    "num_key_value_heads": "heads",
    "num_kv_heads": "heads",
    "n_heads": "heads",
    "n_head": "heads",
    "n_kv_heads": "heads",
    "nhead": "heads",
    "heads": "heads",
    "all_head_size": "heads",
    "split_size": "heads",
    "inner_dim": "heads",
    "intermediate_size": "channels",
    "n_inner": "channels",
    "hidden_features": "channels",
    "ffn_dim": "channels",
    "mlp_dim": "channels",
}
"""Attributes that say how many there are, whether or not the code goes by them."""

BARE: Final = ((_NormBase, "num_features"), (nn.GroupNorm, "num_channels"))
"""Norms, and what says how many channels they have where they have no tensor to tell it by."""


def candidates(model: nn.Module, graphs: Sequence[Captured], ledger: Ledger, spots: Sequence[Spot]) -> list[Sizes]:
    """Sets of attributes by which disproved nodes may go, most likely first.

    An attribute is a candidate where it is as large as a dimension of the channels that flow through the node, there
    or elsewhere, and belongs to one of the modules that the node is part of. First those of the innermost module that
    has any, then those of the next: one name at a time, for all nodes together, and then all.
    """
    levels: dict[int, list[tuple[Attribute, tuple[Spot, int]]]] = {}
    for modules in _around(model, graphs, ledger, spots):
        for depth, (_, found) in enumerate(modules):
            levels.setdefault(depth, []).extend(found.items())
    return [sizes for found in levels.values() for sizes in _by_name(found)]


def alike(model: nn.Module, graphs: Sequence[Captured], ledger: Ledger, spots: Sequence[Spot]) -> list[Sizes]:
    """The candidates of all modules of one type together: one name at a time, and then all."""
    types: dict[type[nn.Module], list[tuple[Attribute, tuple[Spot, int]]]] = {}
    for modules in _around(model, graphs, ledger, spots):
        for module, found in modules:
            types.setdefault(type(module), []).extend(found.items())
    return [sizes for found in types.values() for sizes in _by_name(found)]


def _by_name(found: Sequence[tuple[Attribute, tuple[Spot, int]]]) -> list[Sizes]:
    """One set for each name, those that speak of a size first, and one of them all."""
    names: dict[str, Sizes] = {}
    for attribute, place in found:
        names.setdefault(attribute[1], {})[attribute] = place
    ordered = [names[name] for name in sorted(names, key=lambda name: not SIZE.search(name))]
    return [*ordered, *([dict(found)] if len(ordered) > 1 else [])]


def _around(
    model: nn.Module, graphs: Sequence[Captured], ledger: Ledger, spots: Sequence[Spot]
) -> Iterator[list[tuple[nn.Module, Sizes]]]:
    """For each node the modules around it that have candidates, from the innermost."""
    nodes = {Spot(number, node.name): node for number, captured in enumerate(graphs) for node in captured.graph.nodes}
    group = Units.of(ledger, groups(ledger)).group
    places = _places(ledger, group)
    for spot in spots:
        here = {k: dim for k, dim in enumerate(ledger.dims[spot]) if dim is not None}
        mine = {number for dim in here.values() for number in np.unique(group[dim.atoms]).tolist()}
        sizes = {size: place for number in sorted(mine) for size, place in places.get(number, {}).items()}
        sizes |= {dim.size: (spot, k) for k, dim in here.items()}
        modules: list[tuple[nn.Module, Sizes]] = []
        for path in reversed(module_paths(nodes[spot])):
            found = {attribute: sizes[size] for attribute, size in _matching(model, path, sizes)}
            if found:
                modules.append((model.get_submodule(path), found))
        yield modules


def _places(ledger: Ledger, group: Ints) -> dict[int, dict[int, tuple[Spot, int]]]:
    """For each group of units, and each size that its channels have anywhere, the first dimension of that size."""
    found: dict[int, dict[int, tuple[Spot, int]]] = {}
    for spot, dims in ledger.dims.items():
        for place, dim in enumerate(dims):
            if dim is None or not dim.size:
                continue
            number = int(group[dim.atoms[0]])
            if number >= 0 and dim.size not in found.get(number, {}) and (group[dim.atoms] == number).all():
                found.setdefault(number, {})[dim.size] = (spot, place)
    return found


def module_paths(node: Node) -> list[str]:
    """The modules that a node is part of, from the outermost to the innermost.

    Example:
        >>> import torch
        >>> program = torch.export.export(nn.Sequential(nn.ReLU()), (torch.ones(1),))
        >>> [module_paths(node) for node in program.graph.nodes if node.op == "call_function"]
        [['', '0']]
    """
    return [str(entry[0]) for entry in (node.meta.get("nn_module_stack") or {}).values()]


def _matching(model: nn.Module, path: str, sizes: Collection[int]) -> Iterator[tuple[Attribute, int]]:
    """The whole numbers among a module's attributes, and its configuration's, that are one of these sizes."""
    module = _module(model, path)
    if module is None:
        return
    for name, value in vars(module).items():
        if type(value) is int and value > 1 and value in sizes and not PLACE.search(name):
            yield (path, name), value
    config = vars(module).get("config")
    for name in TOLD:
        value = getattr(config, name, None)  # of its other numbers none can be told to be the one that is meant
        if type(value) is int and value > 1 and value in sizes:
            yield (f"{path}.config" if path else "config", name), value


def _module(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


def told(model: nn.Module, graphs: Sequence[Captured], ledger: Ledger, layout: Layout) -> Sizes:
    """Attributes whose name says that they count units that can be cut."""
    kinds = _kinds(ledger, layout)
    result: Sizes = {}
    for number, captured in enumerate(graphs):
        for node in captured.graph.nodes:
            spot = Spot(number, node.name)
            dims = ledger.dims.get(spot, [])
            result.update(_bare(model, node, spot, dims))
            live = {d.size: (k, d) for k, d in enumerate(dims) if d is not None and (kinds[d.atoms] > 0).all()}
            for path in module_paths(node)[-2:] if live else ():
                for attribute, size in _matching(model, path, live):
                    place, dim = live[size]
                    wanted = TOLD.get(attribute[1])
                    if wanted is not None and (kinds[dim.atoms] == CODES[wanted]).all():
                        result.setdefault(attribute, (spot, place))
    return result


def _bare(model: nn.Module, node: Node, spot: Spot, dims: Sequence[Dim | None]) -> Iterator[tuple[Attribute, Place]]:
    """The count of a norm without tensors, if channels of that number flow through the node."""
    for path in module_paths(node)[-1:]:
        module = _module(model, path)
        for kind, name in BARE if module is not None and not module.state_dict() else ():
            size = getattr(module, name, None) if isinstance(module, kind) else None
            found = [place for place, dim in enumerate(dims) if dim is not None and dim.size == size]
            if found:
                yield (path, name), (spot, found[0])


CODES: Final[dict[Kind, int]] = {"channels": 1, "heads": 2}


def _kinds(ledger: Ledger, layout: Layout) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """For each atom the kind of unit it belongs to, 0 where it belongs to none."""
    label = ledger.atoms.labels()
    kinds = np.zeros(len(label), dtype=np.int64)
    for group in layout.values():
        for member in group.members:
            if member.role != "size":
                kinds[label[ledger.axes[member.name, member.axis].atoms[member.positions.numpy()]]] = CODES[group.kind]
    return kinds[label]
