"""An archive: the specs, surroundings and rows of many finished runs, without their weights, in two small files.

``runs.jsonl`` holds a line for each run, ``rows.jsonl.gz`` all their rows, both in order of the run ids, so that the
same runs give the same bytes whoever collected them in which order. An archive is read wherever run folders are.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from flowprune.core.errors import PruningError
from flowprune.core.files import sha256, write
from flowprune.experiments.record import Record
from flowprune.experiments.spec import parse

RUNS, ROWS = "runs.jsonl", "rows.jsonl.gz"
Line = dict[str, object]


@dataclass(frozen=True)
class Merged:
    """What a merge did.

    Attributes:
        added: Ids of runs that are new in the archive.
        known: Ids of runs that it held already, and keeps as it had them.
    """

    added: tuple[str, ...]
    known: tuple[str, ...]


class Archive:
    """Runs collected under a path.

    Args:
        path: A folder, which need not exist before something is merged into it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @staticmethod
    def at(path: Path) -> bool:
        """Whether there is an archive at a path."""
        return (path / RUNS).exists()

    @property
    def records(self) -> tuple[Record, ...]:
        """The runs that it holds.

        Raises:
            PruningError: a file is missing or damaged.
        """
        return tuple(self._record(line) for line in self._lines())

    def merge(self, records: Iterable[Record]) -> Merged:
        """Add the runs that it does not hold yet.

        A run is known by its id, the hash of its spec: what the archive holds of it already stays.

        Raises:
            PruningError: the archive is damaged.
        """
        lines = {str(line["run"]): line for line in self._lines()}
        rows = self._rows()
        added: list[str] = []
        known: list[str] = []
        for record in records:
            if record.run in lines:
                known.append(record.run)
                continue
            own = rows_of(record)
            rows[record.run] = own
            lines[record.run] = {
                "run": record.run,
                "spec": record.spec.model_dump(mode="json"),
                "environment": dict(record.environment),
                "latency": None if record.latency is None else dict(record.latency),
                "rows": len(own),
                "sha256": checksum(own),
            }
            added.append(record.run)
        if added:
            self._write(lines, rows)
        return Merged(tuple(added), tuple(known))

    def _write(self, lines: Mapping[str, Line], rows: Mapping[str, Sequence[Line]]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps({"run": run, **row}) + "\n" for run in sorted(rows) for row in rows[run])
        write(self.path / ROWS, gzip.compress(text.encode(), mtime=0))
        write(self.path / RUNS, "".join(json.dumps(lines[run]) + "\n" for run in sorted(lines)).encode())

    def _lines(self) -> list[Line]:
        return _json_lines(self.path / RUNS, (self.path / RUNS).read_bytes()) if self.at(self.path) else []

    def _rows(self) -> dict[str, list[Line]]:
        """All rows by run, without their run ids; checked against the checksums of the runs."""
        if not self.at(self.path):
            return {}
        path = self.path / ROWS
        try:
            content = gzip.decompress(path.read_bytes())
        except (OSError, EOFError) as error:
            raise PruningError(f"{path} is damaged or missing: {error}. Restore it from version control.") from None
        found: dict[str, list[Line]] = {str(line["run"]): [] for line in self._lines()}
        for row in _json_lines(path, content):
            found.setdefault(str(row.pop("run")), []).append(row)
        for line in self._lines():
            if checksum(found[str(line["run"])]) != line["sha256"]:
                todo = "Restore it from version control, or collect the run again."
                raise PruningError(f"{path} is damaged: the rows of run {line['run']} are not what they were. {todo}")
        return found

    def _record(self, line: Line) -> Record:
        spec = parse(cast("Mapping[str, object]", line["spec"]), where=f"{self.path / RUNS}: run {line['run']}")
        environment = cast("Mapping[str, object]", line["environment"])
        latency = cast("Mapping[str, float] | None", line["latency"])
        return Record(str(line["run"]), spec, environment, latency, self.path / ROWS)


def rows_of(record: Record) -> list[Line]:
    """The rows of a run, wherever it stands."""
    if record.file.name == ROWS:
        return Archive(record.file.parent)._rows()[record.run]
    return _json_lines(record.file, record.file.read_bytes())


def checksum(rows: Sequence[Line]) -> str:
    """SHA-256 over rows, in hexadecimal."""
    return sha256("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode())


def _json_lines(path: Path, content: bytes) -> list[Line]:
    try:
        return [json.loads(line) for line in content.decode().splitlines()]
    except ValueError as error:
        raise PruningError(f"{path} is damaged: {error}. Restore it from version control.") from None
