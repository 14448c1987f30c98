"""Several files and the one that names them, replaced together: the old or the new are whole, whenever a process dies.

The new files are written beside the old, under names with their checksums. Then the file that names them is replaced,
in one step: from there on the new ones count. Last they take the places of the old. Who reads in between, or after the
process died there, finds them under the names that they still have.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from flowprune.core.files import checksum


def staged(path: Path, expected: str) -> Path:
    """Where a file with this checksum waits for its place."""
    return path.with_name(f".{path.name}.{expected}")


def stage(path: Path, write: Callable[[Path], object]) -> str:
    """Write a file that shall stand at ``path`` later; its checksum.

    Args:
        path: Is left as it is.
        write: Writes where it is told to.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        expected = checksum(part)
        part.replace(staged(path, expected))
    finally:
        part.unlink(missing_ok=True)
    return expected


def settle(folder: Path, files: Mapping[str, str]) -> None:
    """Put what waits in its place: of each name, the file with its checksum."""
    for name, expected in files.items():
        waiting = staged(folder / name, expected)
        if waiting.exists():
            waiting.replace(folder / name)


def clear(folder: Path, name: str) -> None:
    """Take away what waits for a place and will not get it."""
    for waiting in folder.glob(f".{name}.*"):
        waiting.unlink()


def whole(path: Path, expected: str) -> Path | None:
    """The file with this checksum: in its place, or waiting for it; None where neither is it."""
    # Another process may put it in its place between two looks.
    for place in (path, staged(path, expected), path):
        if place.is_file() and checksum(place) == expected:
            return place
    return None
