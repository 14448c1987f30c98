"""Files that are there whole or not at all, and the checksums that prove it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path


def sha256(data: bytes) -> str:
    """The checksum of some bytes, in hexadecimal.

    Example:
        >>> sha256(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def checksum(path: Path) -> str:
    """The checksum of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum_of(fields: Mapping[str, object]) -> str:
    """The checksum of a JSON object, whatever the order and the layout it is written in.

    Example:
        >>> checksum_of({"a": 1, "b": 2}) == checksum_of({"b": 2, "a": 1})
        True
    """
    return sha256(json.dumps(fields, sort_keys=True).encode())


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Where to write, so that, whenever the process dies, the old or the new file stands at ``path`` whole.

    The data reach the disk before the name does (``fsync``, then ``rename``). What an error leaves is removed.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write(path: Path, data: bytes) -> None:
    """Write a file with :func:`replacing`."""
    with replacing(path) as part:
        part.write_bytes(data)


def write_json(path: Path, fields: Mapping[str, object]) -> None:
    """Write one JSON object with :func:`write`; NaN and infinities are refused, as JSON has none."""
    write(path, (json.dumps(fields, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, object]:
    """Read one JSON object.

    Raises:
        ValueError: the file does not hold one; the message names the file.
    """
    try:
        fields = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it is not JSON ({error}).") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{path} is damaged: it does not hold a JSON object.")
    return fields
