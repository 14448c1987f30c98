"""An archive: the specs, surroundings and rows of many finished runs, without their weights, in two small files.

``runs.jsonl`` holds a line for each run, ``rows.jsonl.gz`` all their rows, both in order of the run ids, so that the
same runs give the same bytes whoever collected them in which order. An archive is read wherever run folders are.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from flowprune.core.errors import PruningError
from flowprune.core.files import sha256, write
from flowprune.experiments.record import Record
from flowprune.experiments.spec import parse

RUNS, ROWS = "runs.jsonl", "rows.jsonl.gz"
RESTORE = "Restore it from version control."
Line = dict[str, object]
FIELDS = {"run": str, "spec": dict, "environment": dict, "latency": (dict, type(None)), "rows": int, "sha256": str}
"""What the line of a run holds."""


@dataclass(frozen=True)
class Merged:
    """What a merge did.

    Attributes:
        added: Ids of runs that are new in the archive.
        known: Ids of runs that it held already, and keeps as it had them.
        answered: Ids of runs left out, as another run of the archive answers their question, computed in another way.
    """

    added: tuple[str, ...]
    known: tuple[str, ...]
    answered: tuple[str, ...] = ()


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
        """The runs that it holds, their rows checked.

        Raises:
            PruningError: a file is missing or damaged.
        """
        found = tuple(self._record(line) for line in self._lines())
        self.rows()
        return found

    def rows(self) -> dict[str, list[Line]]:
        """All rows by run, without their run ids; none where there is no archive yet.

        Raises:
            PruningError: a file is missing or damaged, or rows are not what they were when they were collected.
        """
        if not self.at(self.path):
            return {}
        lines, path = self._lines(), self.path / ROWS
        try:
            content = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise PruningError(f"{path} is damaged or missing: {error}. {RESTORE}") from None
        found: dict[str, list[Line]] = {str(line["run"]): [] for line in lines}
        for number, row in enumerate(_json_lines(path, content), start=1):
            if "run" not in row:
                raise PruningError(f"{path} is damaged: line {number} does not name its run. {RESTORE}")
            found.setdefault(str(row.pop("run")), []).append(row)
        for line in lines:
            if checksum(found[str(line["run"])]) != line["sha256"]:
                todo = "Restore it from version control, or collect the run again."
                raise PruningError(f"{path} is damaged: the rows of run {line['run']} are not what they were. {todo}")
        return found

    def merge(self, records: Iterable[Record]) -> Merged:
        """Add the runs that it does not hold yet.

        A run is known by its id, the hash of its spec: what the archive holds of it already stays. Of runs that answer
        one question (:attr:`Spec.question`) in several ways, on another machine or in half precision, one is kept: that
        which is there, else the first by id.

        Raises:
            PruningError: an archive is damaged.
        """
        lines, rows = {str(line["run"]): line for line in self._lines()}, self.rows()
        questions = {self._record(line).spec.question for line in lines.values()}
        read: dict[Path, dict[str, list[Line]]] = {}
        added: list[str] = []
        known: list[str] = []
        answered: list[str] = []
        for record in sorted(records, key=lambda record: record.run):
            if record.run in lines:
                known.append(record.run)
            elif record.spec.question in questions:
                answered.append(record.run)
            else:
                rows[record.run] = _rows_of(record, read)
                lines[record.run] = _line(record, rows[record.run])
                questions.add(record.spec.question)
                added.append(record.run)
        if added:
            self._write(lines, rows)
        return Merged(tuple(added), tuple(known), tuple(answered))

    def _write(self, lines: Mapping[str, Line], rows: Mapping[str, Sequence[Line]]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps({"run": run, **row}) + "\n" for run in sorted(rows) for row in rows[run])
        write(self.path / ROWS, gzip.compress(text.encode(), mtime=0))
        write(self.path / RUNS, "".join(json.dumps(lines[run]) + "\n" for run in sorted(lines)).encode())

    def _lines(self) -> list[Line]:
        """A line for each run, each with the fields of one."""
        if not self.at(self.path):
            return []
        path = self.path / RUNS
        found = _json_lines(path, path.read_bytes())
        for number, line in enumerate(found, start=1):
            wrong = [name for name, kinds in FIELDS.items() if not isinstance(line.get(name, ...), kinds)]
            if wrong:
                raise PruningError(f"{path} is damaged: line {number} has no sound {', '.join(wrong)}. {RESTORE}")
        return found

    def _record(self, line: Line) -> Record:
        try:
            spec = parse(cast("Mapping[str, object]", line["spec"]))
        except ValueError as error:
            where = f"{self.path / RUNS} is damaged: the spec of run {line['run']} is none"
            raise PruningError(f"{where}. {error} {RESTORE}") from None
        environment = cast("Mapping[str, object]", line["environment"])
        latency = cast("Mapping[str, float] | None", line["latency"])
        return Record(str(line["run"]), spec, environment, latency, self.path / ROWS)


def _line(record: Record, rows: Sequence[Line]) -> Line:
    return {
        "run": record.run,
        "spec": record.spec.model_dump(mode="json"),
        "environment": dict(record.environment),
        "latency": None if record.latency is None else dict(record.latency),
        "rows": len(rows),
        "sha256": checksum(rows),
    }


def _rows_of(record: Record, read: dict[Path, dict[str, list[Line]]]) -> list[Line]:
    """The rows of a run, wherever it stands; ``read`` keeps those of archives, each of which is read once."""
    if record.file.name != ROWS:
        return _json_lines(record.file, record.file.read_bytes())
    if record.file not in read:
        read[record.file] = Archive(record.file.parent).rows()
    return read[record.file][record.run]


def checksum(rows: Sequence[Line]) -> str:
    """SHA-256 over rows, in hexadecimal."""
    return sha256("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode())


def _json_lines(path: Path, content: bytes) -> list[Line]:
    """The JSON objects of a file, one a line."""
    try:
        found = [json.loads(line) for line in content.decode().splitlines()]
    except ValueError as error:
        raise PruningError(f"{path} is damaged: {error}. {RESTORE}") from None
    for number, line in enumerate(found, start=1):
        if not isinstance(line, dict):
            raise PruningError(f"{path} is damaged: line {number} is no JSON object. {RESTORE}")
    return cast("list[Line]", found)
