"""Which attributes of a model's modules count its channels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import numpy as np
from torch import nn
from torch.fx import Node

from flowprune.core.units import Kind, Layout
from flowprune.structure.capture import Captured
from flowprune.structure.ledger import Ledger
from flowprune.structure.lessons import Attribute, Spot

Sizes = dict[Attribute, tuple[Spot, int]]

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
    "intermediate_size": "channels",
    "n_inner": "channels",
    "hidden_features": "channels",
    "ffn_dim": "channels",
    "mlp_dim": "channels",
}
"""Attributes that say how many there are, whether or not the code goes by them."""


def candidates(model: nn.Module, graphs: Sequence[Captured], ledger: Ledger, spots: Sequence[Spot]) -> list[Sizes]:
    """Sets of attributes by which disproved nodes may go, most likely first.

    An attribute is a candidate where it is as large as a dimension of the channels that flow through the node, there
    or elsewhere, and belongs to one of the modules that the node is part of. First those of the innermost module that
    has any, for all nodes together, then those of the next; then one attribute at a time, for all modules of one type
    together.
    """
    levels: dict[int, Sizes] = {}
    for spot in spots:
        for depth, (_, found) in enumerate(_around(model, graphs, ledger, spot)):
            levels.setdefault(depth, {}).update(found)
    return [*levels.values(), *alike(model, graphs, ledger, spots)]


def alike(model: nn.Module, graphs: Sequence[Captured], ledger: Ledger, spots: Sequence[Spot]) -> list[Sizes]:
    """The candidates one attribute at a time, for all modules of one type together."""
    names: dict[tuple[type[nn.Module], str], Sizes] = {}
    for spot in spots:
        for module, found in _around(model, graphs, ledger, spot):
            for attribute, place in found.items():
                names.setdefault((type(module), attribute[1]), {})[attribute] = place
    return list(names.values())


def _around(
    model: nn.Module, graphs: Sequence[Captured], ledger: Ledger, spot: Spot
) -> Iterator[tuple[nn.Module, Sizes]]:
    """The modules around a node that have candidates, from the innermost."""
    node = next((n for n in graphs[spot.graph].graph.nodes if n.name == spot.node), None)
    if node is None:
        return
    places = _places(ledger, spot)
    for path in reversed(module_paths(node)):
        found = {attribute: places[size] for attribute, size in _matching(model, path, places)}
        if found:
            yield model.get_submodule(path), found


def _places(ledger: Ledger, spot: Spot) -> dict[int, tuple[Spot, int]]:
    """For each size that the channels of a node have, there or at another node, a dimension of that size."""
    label = ledger.atoms.labels()
    mine = np.zeros(len(label), dtype=bool)
    for dim in ledger.dims[spot]:
        if dim is not None:
            mine[label[dim.atoms]] = True
    found: dict[int, tuple[Spot, int]] = {}
    for other in (spot, *ledger.dims):
        for place, dim in enumerate(ledger.dims[other]):
            if dim is not None and dim.size not in found and mine[label[dim.atoms]].all():
                found[dim.size] = (other, place)
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
    try:
        module = model.get_submodule(path)
    except AttributeError:
        return
    config = vars(module).get("config")
    inside = f"{path}.config" if path else "config"
    for where, owner in ((path, module), (inside, config)):
        for name, value in vars(owner).items() if hasattr(owner, "__dict__") else ():
            if type(value) is int and value > 1 and value in sizes:
                yield (where, name), value


def told(model: nn.Module, graphs: Sequence[Captured], ledger: Ledger, layout: Layout) -> Sizes:
    """Attributes whose name says that they count units that can be cut."""
    kinds = _kinds(ledger, layout)
    result: Sizes = {}
    for number, captured in enumerate(graphs):
        for node in captured.graph.nodes:
            spot = Spot(number, node.name)
            dims = ledger.dims.get(spot, [])
            live = {d.size: (k, d) for k, d in enumerate(dims) if d is not None and (kinds[d.atoms] > 0).all()}
            for path in module_paths(node)[-2:] if live else ():
                for attribute, size in _matching(model, path, live):
                    place, dim = live[size]
                    wanted = TOLD.get(attribute[1])
                    if wanted is not None and (kinds[dim.atoms] == CODES[wanted]).all():
                        result.setdefault(attribute, (spot, place))
    return result


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
