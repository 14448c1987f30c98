"""Masks on disk: packed bits as safetensors, and a JSON file that says what they belong to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from flowprune.core.errors import PruningError, invalid
from flowprune.core.granularities import build_granularity
from flowprune.core.groups import Group
from flowprune.core.units import Member, Role, UnitGroup
from flowprune.masks.masks import Masks
from flowprune.masks.weight_group import WeightGroup

FORMAT = 2
READABLE = (1, 2)
"""1 has channels and single weights alone."""
FIELDS = ("removable", "kind", "modules", "least")
"""Of a group of units, beside its size and its members; a file that lacks one means the default."""


def save(masks: Masks, path: str | Path) -> Path:
    """Write ``path`` (safetensors, one bit an entry) and ``path`` with suffix ``.json`` (shapes, layout, checksum).

    Shapes: any; restored exactly.

    Raises:
        ValueError: the path does not end in ``.safetensors``.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise invalid("Masks.save(path=)", "a path ending in .safetensors", str(path))
    tensors = {f"mask/{name}": pack(mask) for name, mask in masks.items()}
    layout = {name: _describe(group, tensors) for name, group in masks.layout.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    header = {
        "format": FORMAT,
        "fingerprint": masks.fingerprint,
        "sparsity": masks.sparsity,
        "shapes": {name: list(mask.shape) for name, mask in masks.items()},
        "layout": layout,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    path.with_suffix(".json").write_text(json.dumps(header, indent=1))
    return path


def load(path: str | Path) -> Masks:
    """Read masks; the checksum is verified first.

    Raises:
        PruningError: a file is missing, damaged or of a later format.
    """
    path = Path(path)
    header = _header(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != header["sha256"]:
        raise PruningError(f"Masks.load(): {path} does not match its checksum; it is damaged. Save the masks again.")
    tensors = load_file(path)
    masks = {name: unpack(tensors[f"mask/{name}"], shape) for name, shape in header["shapes"].items()}
    layout = {name: _restore(name, group, tensors) for name, group in header["layout"].items()}
    return Masks(masks, layout=layout, fingerprint=header["fingerprint"])


def _header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.with_suffix(".json").read_text())
        path.stat()
    except (OSError, ValueError) as error:
        raise PruningError(
            f"Masks.load() needs {path} and {path.with_suffix('.json').name} beside it: {error}."
        ) from error
    if header.get("format") not in READABLE:
        known = ", ".join(map(str, READABLE))
        raise PruningError(f"Masks.load() reads the formats {known}; {path} has {header.get('format')!r}.")
    return cast("dict[str, Any]", header)


def pack(mask: Tensor) -> Tensor:
    """A boolean tensor as bits: uint8, eight entries each."""
    return torch.from_numpy(np.packbits(mask.detach().cpu().numpy().reshape(-1)))


def unpack(bits: Tensor, shape: list[int]) -> Tensor:
    """The boolean tensor of a shape that :func:`pack` packed."""
    count = int(np.prod(shape, dtype=np.int64))
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=count).astype(bool)).view(shape)


def _describe(group: Group, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """A group as JSON; index vectors that are neither 0, 1, 2, ... nor one number go to the tensor file."""
    if isinstance(group, WeightGroup):
        return {"pattern": group.pattern.name, "weight": list(group.weight), "inputs_first": group.inputs_first}
    if not isinstance(group, UnitGroup):
        raise invalid("Masks.save()", "of channels, weights, or a pattern of weights", type(group).__name__)
    members: list[dict[str, Any]] = []
    for number, member in enumerate(group.members):
        entry: dict[str, Any] = {"name": member.name, "axis": member.axis, "role": member.role, "scored": member.scored}
        for field in ("positions", "units"):
            index: Tensor = getattr(member, field).cpu()
            if bool((index == torch.arange(index.numel())).all()):
                entry[field] = index.numel()
            elif bool((index == index[0]).all()):
                entry[field] = [int(index[0]), index.numel()]
            else:
                entry[field] = f"layout/{group.name}/{number}/{field}"
                tensors[entry[field]] = index.to(torch.int64).contiguous()
        members.append(entry)
    own = {field: getattr(group, field) for field in FIELDS}
    return {"size": group.size, **own, "members": members}


def _restore(name: str, group: dict[str, Any], tensors: dict[str, Tensor]) -> Group:
    if "pattern" in group:
        pattern = build_granularity("Masks.load(): pattern", group["pattern"])
        return WeightGroup(name, tuple(group["weight"]), pattern, inputs_first=group["inputs_first"])

    def index(value: int | str | list[int]) -> Tensor:
        if isinstance(value, list):
            return torch.full((value[1],), value[0])
        return tensors[value] if isinstance(value, str) else torch.arange(value)

    members = tuple(
        Member(
            m["name"], m["axis"], index(m["positions"]), index(m["units"]), cast("Role", m["role"]), scored=m["scored"]
        )
        for m in group["members"]
    )
    own = {field: group[field] for field in FIELDS if field in group}
    if "modules" in own:
        own["modules"] = tuple(own["modules"])
    return UnitGroup(name, group["size"], members, **own)
