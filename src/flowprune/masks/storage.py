"""Masks on disk: packed bits as safetensors, and a JSON file that says what they belong to; each has a checksum."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from flowprune.core.errors import PruningError, invalid
from flowprune.core.files import checksum, checksum_of, write_json
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
        ValueError: the path does not end in ``.safetensors``, or cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise invalid("Masks.save(path=)", "a path ending in .safetensors", str(path))
    tensors = {f"mask/{name}": pack(mask) for name, mask in masks.items()}
    layout = {name: _describe(group, tensors) for name, group in masks.layout.items()}
    header = {
        "format": FORMAT,
        "fingerprint": masks.fingerprint,
        "sparsity": masks.sparsity,
        "shapes": {name: list(mask.shape) for name, mask in masks.items()},
        "layout": layout,
    }
    try:
        _write(path, header, tensors)
    except (OSError, SafetensorError) as error:
        raise invalid("Masks.save(path=)", "a file that can be written", str(path), f"{error}.") from error
    return path


def _write(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    header["sha256"] = checksum(path)
    write_json(path.with_suffix(".json"), {**header, "checksum": checksum_of(header)})


def load(path: str | Path) -> Masks:
    """Read masks; both files are verified first, by their checksums and against each other.

    Raises:
        PruningError: a file is missing, damaged or of a later format.
    """
    path = Path(path)
    header = _header(path)
    try:
        if checksum(path) != header["sha256"]:
            raise _damaged(path, "it does not match its checksum")
        return _masks(header, load_file(path))
    except SafetensorError as error:
        raise _damaged(path, str(error)) from None
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, PruningError):
            raise
        raise _damaged(path.with_suffix(".json"), f"{type(error).__name__}: {error}") from error


def _masks(header: dict[str, Any], tensors: dict[str, Tensor]) -> Masks:
    """What the two files say together; what does not fit raises."""
    shapes: dict[str, list[int]] = header["shapes"]
    stored = {name.removeprefix("mask/") for name in tensors if name.startswith("mask/")}
    if stored != shapes.keys():
        raise ValueError(f"shapes and bits are of different names, {sorted(stored ^ shapes.keys())[:3]}")
    masks = {name: _checked(name, tensors[f"mask/{name}"], shape) for name, shape in shapes.items()}
    layout = {name: _restore(name, group, tensors) for name, group in header["layout"].items()}
    for name in layout.keys() & masks.keys():
        if layout[name].shape != tuple(masks[name].shape):
            raise ValueError(f"{name!r} has masks of shape {shapes[name]} for units of shape {layout[name].shape}")
    found = Masks(masks, layout=layout, fingerprint=header["fingerprint"])
    if not math.isclose(found.sparsity, header["sparsity"]):
        raise ValueError(f"it says sparsity {header['sparsity']}, the bits have {found.sparsity}")
    return found


def _checked(name: str, bits: Tensor, shape: list[int]) -> Tensor:
    """The mask, if its shape has as many entries as there are bits; those that fill the last byte are 0."""
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"{name!r} has the shape {shape}")
    entries = int(np.prod(shape, dtype=np.int64))
    if bits.dtype != torch.uint8 or bits.dim() != 1 or len(bits) != -(-entries // 8):
        raise ValueError(f"{name!r} has the shape {shape}, of {entries} entries, and {8 * bits.numel()} bits")
    if entries % 8 and int(bits[-1]) % 2 ** (8 - entries % 8):
        raise ValueError(f"{name!r} has the shape {shape}, of {entries} entries, and more bits")
    return unpack(bits, shape)


def _header(path: Path) -> dict[str, Any]:
    """What the JSON file says; it is what was written, or has no checksum of its own as the first ones had none."""
    beside = path.with_suffix(".json")
    try:
        found = json.loads(beside.read_bytes())
        path.stat()
    except OSError as error:
        raise PruningError(f"Masks.load() needs {path} and {beside.name} beside it: {error}.") from error
    except ValueError as error:
        raise _damaged(beside, f"it is not JSON ({error})") from None
    if not isinstance(found, dict) or "format" not in found:
        raise _damaged(beside, "it does not hold a JSON object with a format")
    header = cast("dict[str, Any]", found)
    if header["format"] not in READABLE:
        known = ", ".join(map(str, READABLE))
        todo = "Save the masks again, or update flowprune."
        raise PruningError(f"Masks.load() reads the formats {known}; {beside} has {header['format']!r}. {todo}")
    if "checksum" in header and header.pop("checksum") != checksum_of(header):
        raise _damaged(beside, "its checksum does not hold")
    return header


def _damaged(path: Path, how: str) -> PruningError:
    return PruningError(f"Masks.load(): {path} is damaged: {how}. Save the masks again, or restore the file.")


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
