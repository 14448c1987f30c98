"""The folder of a plan: ``plan.json``, long indices in ``plan.safetensors``, the weights in ``model.safetensors``.

No file holds a pickle. ``plan.json`` holds the checksums of the others and its own, so that what is damaged is known
before it is used, and a plan that is replaced is there whole, the old or the new. ``model.safetensors`` is a plain
state dict; without it a plan can still be replayed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flowprune.core.errors import PruningError, invalid
from flowprune.core.files import checksum_of, write_json
from flowprune.core.version import __version__
from flowprune.plan.exchange import clear, settle, stage, whole
from flowprune.plan.operations import OPERATIONS, Entry
from flowprune.plan.packing import Store
from flowprune.plan.records import Plan
from flowprune.plan.weights import alone, channels_last, tensors_of
from flowprune.structure.architecture import Architecture

FORMAT = 1
PLAN, INDICES, WEIGHTS = "plan.json", "plan.safetensors", "model.safetensors"
BUFFER = "buffer/"
"""Before the names of buffers that a state dict leaves out, in the file of indices."""
Fields = dict[str, Any]
FIELDS = {"versions": dict, "model": dict, "operations": list, "files": dict, "channels_last": list}
"""What every plan holds, beside what may be null."""


def write_plan(folder: Path, plan: Plan, model: nn.Module) -> None:
    """Write the files of a plan; what stood there before is replaced at once, :mod:`flowprune.plan.exchange` says how.

    Args:
        folder: Made where it is not there.
        plan: What was done.
        model: After it.

    Raises:
        ValueError: the state dict holds something that is no tensor, or the folder cannot be written; a plan that was
            there is as it was.
    """
    weights, left_out = tensors_of(model)
    store: Store = {f"{BUFFER}{name}": alone(value) for name, value in left_out.items()}
    operations: list[Entry] = []
    for number, operation in enumerate(plan.operations):
        entry = OPERATIONS[operation.kind].pack(operation, f"packed/{number}", store)
        operations.append({"kind": operation.kind, **entry})
    fields = _fields(plan, operations)
    fields["channels_last"] = channels_last({**weights, **left_out})
    try:
        _write(folder, fields, {WEIGHTS: weights, INDICES: store})
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        todo = f"{why}: {getattr(error, 'filename', None) or folder}."
        raise invalid("save(folder=)", "a folder that can be written", str(folder), todo) from error


def _write(folder: Path, fields: Fields, files: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write the tensors, then the plan that names them; an older plan stays whole until then."""
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(PruningError):  # there is no older plan, or none that can be kept
        settle(folder, read_fields(folder)["files"])
    for name in files:
        clear(folder, name)
    fields["files"] = {
        name: stage(folder / name, partial(save_file, {key: alone(value) for key, value in tensors.items()}))
        for name, tensors in files.items()
        if tensors
    }
    write_json(folder / PLAN, {**fields, "checksum": checksum_of(fields)})
    settle(folder, fields["files"])
    for name in files.keys() - fields["files"].keys():
        (folder / name).unlink(missing_ok=True)


def _fields(plan: Plan, operations: list[Entry]) -> Fields:
    fields = {
        "format": FORMAT,
        "versions": {"flowprune": __version__, "torch": torch.__version__},
        "model": {
            "class": plan.model_class,
            "fingerprint": plan.dense.fingerprint,
            "fingerprint_after": plan.fingerprint,
            "parameters": plan.dense.parameters,
            "buffers": plan.dense.buffers,
            "ties": plan.dense.ties,
        },
        "measure": plan.measure,
        "sparsity": plan.sparsity,
        "seeds": dict(plan.seeds),
        "operations": operations,
    }
    return json.loads(json.dumps(fields))  # as it will be read: tuples are lists


def read_plan(path: Path | str) -> Plan:
    """The plan in a folder; every checksum that it needs is verified first.

    Args:
        path: The folder, or a file in it.

    Raises:
        PruningError: a file is missing, damaged, or of a later version, or an operation is not known here.
    """
    folder = folder_of(path)
    fields = read_fields(folder)
    store = read_tensors(folder, INDICES, fields)
    for entry in fields["operations"]:
        if entry.get("kind") not in OPERATIONS:
            raise PruningError(
                f"{folder / PLAN} holds an operation of kind {entry.get('kind')!r}, which this flowprune "
                f"({__version__}) does not know: {', '.join(OPERATIONS)}. It was written by "
                f"{fields['versions'].get('flowprune', 'a later one')}: update flowprune."
            )
    try:
        return _plan(fields, store)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(folder / PLAN, f"{type(error).__name__}: {error}") from error


def _plan(fields: Fields, store: Store) -> Plan:
    model = fields["model"]
    return Plan(
        Architecture(_shapes(model["parameters"]), _shapes(model["buffers"]), model["ties"]),
        tuple(OPERATIONS[entry["kind"]].unpack(entry, store) for entry in fields["operations"]),
        model["class"],
        fields["measure"],
        fields["sparsity"],
        fields["seeds"],
        fields["versions"],
    )


def _shapes(found: Mapping[str, list[int]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape in found.items()}


def read_fields(folder: Path) -> Fields:
    """What stands in ``plan.json``; its format and its checksum are verified.

    Raises:
        PruningError: it is missing, damaged or of a later version.
    """
    path = folder / PLAN
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        todo = "Pass the folder that fp.save wrote."
        raise PruningError(f"{folder} must hold {PLAN}; it cannot be read ({error.strerror}). {todo}") from None
    except ValueError as error:
        raise damaged(path, f"it is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise damaged(path, "it does not hold a JSON object")
    fields = cast("Fields", found)
    version = fields.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise PruningError(
            f"{path} is of format {version}, a later one than this flowprune ({__version__}) reads ({FORMAT}). "
            "Update flowprune."
        )
    if fields.pop("checksum", None) != checksum_of(fields) or version != FORMAT:
        raise damaged(path, "its checksum does not hold")
    for name, kind in FIELDS.items():
        if not isinstance(fields.get(name), kind):
            raise damaged(path, f"it holds no {name!r}")
    if not all(isinstance(entry, dict) for entry in fields["operations"]):
        raise damaged(path, "an operation of it is no JSON object")
    return fields


def read_tensors(folder: Path, name: str, fields: Fields) -> dict[str, Tensor]:
    """The tensors of a file that ``plan.json`` names; empty where it names none.

    Raises:
        PruningError: the file is missing, or not what it was.
    """
    expected, path = fields["files"].get(name), folder / name
    if expected is None:
        return {}
    found = whole(path, expected)
    if found is None and not path.exists():
        raise PruningError(f"{path} is missing. It belongs to {PLAN} beside it: copy the folder as a whole.")
    if found is None:
        raise damaged(path, "its checksum does not hold")
    try:
        return load_file(found)
    except SafetensorError as error:
        raise damaged(path, str(error)) from None


def folder_of(path: Path | str) -> Path:
    """The folder that is meant by itself or by a file in it."""
    path = Path(path)
    return path.parent if path.is_file() or path.suffix in (".json", ".safetensors") else path


def damaged(path: Path, how: str) -> PruningError:
    """The error for a file that is not what it was."""
    return PruningError(f"{path} is damaged: {how}. Save the model again, or restore the file.")
