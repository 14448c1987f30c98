"""The rows of a run: one flat JSON object per line, appended as they come."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from flowprune.core.files import sha256

Value = str | int | float | bool | list[str] | list[int] | list[float] | None
Row = Mapping[str, Value]


class Rows:
    """Appends rows to a file, and can cut the file back to what a checkpoint had seen."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Row) -> None:
        """Add a row. A number that is not finite is stored as null: JSON has no other word for it."""
        line = json.dumps({key: _finite(value) for key, value in row.items()}, allow_nan=False)
        with self.path.open("ab") as file:
            file.write(line.encode() + b"\n")

    def mark(self) -> dict[str, int | str]:
        """Where the file ends now and the checksum up to there; its bytes are forced to the disk."""
        if not self.path.exists():
            return {"bytes": 0, "sha256": sha256(b"")}
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
            data = file.read()
        return {"bytes": len(data), "sha256": sha256(data)}

    def holds(self, mark: Mapping[str, int | str]) -> bool:
        """Whether the file still begins with what it held at ``mark``."""
        data = self.path.read_bytes() if self.path.exists() else b""
        return sha256(data[: int(mark["bytes"])]) == mark["sha256"]

    def truncate(self, length: int) -> None:
        """Drop what was appended after ``length`` bytes, a torn last line too."""
        if self.path.exists():
            os.truncate(self.path, length)


def _finite(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value
