"""Is an artefact whole, and does it still give the numbers it gave when it was made?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from flowprune.artefacts.manifest import Artefact, Kind, Output, read
from flowprune.artefacts.publishing import Run
from flowprune.core.errors import PruningError
from flowprune.core.files import checksum

CLOSE = 1e-3
"""How far the size of an output may be off, relatively: other kernels on another machine round otherwise."""


def verify(where: str, path: Path | str, kind: Kind, *, load: Callable[[Path], Run]) -> tuple[str, ...]:
    """Check an artefact against the JSON beside it; nothing is loaded before its checksum is right.

    Returns:
        What was checked: that the files are there ("whole") and unchanged ("hash"), that it "loads" and "runs" on
        inputs of the stored shapes, that what it gives is "finite" and of the "same numbers" as when it was made.

    Raises:
        PruningError: the first check that failed.
    """
    path = Path(path)
    artefact = read(where, path, kind)
    _unchanged(where, artefact)
    try:
        run = load(path)
    except Exception as error:
        raise _failed(where, path, "load", error) from error
    try:
        found = run(artefact.drawn())
    except Exception as error:
        raise _failed(where, path, "run on inputs of its stored shapes", error) from error
    _same_numbers(where, artefact, found)
    return ("whole", "hash", "loads", "runs", "finite", "same numbers")


def _unchanged(where: str, artefact: Artefact) -> None:
    """Raise where a file is missing or is not what was written."""
    for name, expected in artefact.files.items():
        file = artefact.path.parent / name
        if not file.is_file():
            raise PruningError(f"{where}: {file} is missing. Copy all files of the artefact, or export it again.")
        if checksum(file) != expected:
            raise PruningError(f"{where}: {file} does not match its checksum; it is damaged. Export the model again.")


def _same_numbers(where: str, artefact: Artefact, found: Sequence[Tensor]) -> None:
    """Raise where an output is not finite, or of another shape or size than it was."""
    if len(found) != len(artefact.outputs):
        raise _other(where, artefact, f"{len(found)} outputs, not {len(artefact.outputs)}")
    for number, (tensor, expected) in enumerate(zip(found, artefact.outputs, strict=True)):
        given = Output.of(tensor)
        if (given.shape, given.dtype) != (expected.shape, expected.dtype):
            raise _other(where, artefact, f"output {number} of {given.dtype} {given.shape}")
        if expected.rms is None:
            continue
        if given.rms is None:
            raise _other(where, artefact, f"output {number} with {int((~torch.isfinite(tensor)).sum())} not finite")
        if abs(given.rms - expected.rms) > CLOSE * max(expected.rms, 1e-6):
            raise _other(where, artefact, f"output {number} of size {given.rms:.6g}, not {expected.rms:.6g}")


def _failed(where: str, path: Path, what: str, error: Exception) -> PruningError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return PruningError(f"{where}: {path} must {what}; {type(error).__name__}: {lines[0]}")


def _other(where: str, artefact: Artefact, what: str) -> PruningError:
    made = ", ".join(f"{name} {value}" for name, value in artefact.versions.items())
    return PruningError(
        f"{where}: {artefact.path} must give what it gave when it was made ({made}); it gives {what}. Export the model "
        "again with the versions installed here."
    )
