"""The rows of many runs, read together with DuckDB."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowprune.core.errors import PruningError, invalid
from flowprune.experiments.archive import ROWS, Archive
from flowprune.experiments.folder import LATENCY, RunFolder, folders
from flowprune.experiments.record import Record
from flowprune.experiments.telling import settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COLUMNS = {
    "run": "VARCHAR",
    "name": "VARCHAR",
    "measure": "VARCHAR",
    "rounds": "BIGINT",
    "sparsity": "DOUBLE",
    "granularity": "VARCHAR",
    "seed": "BIGINT",
    "model": "VARCHAR",
    "dataset": "VARCHAR",
    "setting": "VARCHAR",
}
"""Of every row. ``setting``: other fields in which the runs read together differ, as JSON; null without any."""


def connect(root: Path | str | Sequence[Path | str], *, unfinished: bool = False) -> DuckDBPyConnection:
    """A DuckDB connection with the views ``runs`` (a line per run) and ``rows`` (all rows, with their run's columns).

    Args:
        root: A folder of run folders, a run folder, or several.
        unfinished: Whether runs that have not ended are read as well, as far as they came.

    Raises:
        ValueError: there is no run to read.
        PruningError: a finished run is damaged.

    Example:
        ``connect("runs").sql("select measure, avg(test_accuracy_final) from rows group by measure")``
    """
    return _connected(records(root, unfinished=unfinished))


def _connected(found: Sequence[Record]) -> DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect()
    late_ones = {name: "BIGINT" if name in ("latency_batch", "latency_threads") else "DOUBLE" for name in LATENCY}
    fields = {**COLUMNS, **late_ones, "file": "VARCHAR"}
    connection.execute(f"CREATE TABLE runs ({', '.join(f'{name} {kind}' for name, kind in fields.items())})")
    connection.executemany(f"INSERT INTO runs VALUES ({', '.join('?' * len(fields))})", _facts(found))
    paths = dict.fromkeys(str(record.file) for record in found)
    files = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    archived = any(path.endswith(ROWS) for path in paths)  # whose rows name their run; a folder's are all of one
    own, own_run = (", run", "AND (raw.run IS NULL OR raw.run = runs.run)") if archived else ("", "")
    late = ", ".join(f"CASE WHEN kind = 'result' THEN runs.{name} END AS {name}" for name in LATENCY)
    connection.execute(
        # A torn last line of a run that was killed reads as a row of nulls (ignore_errors), and is dropped.
        f"CREATE VIEW rows AS SELECT {', '.join(f'runs.{name}' for name in COLUMNS)}, "
        f"raw.* EXCLUDE (filename, line{own}), {late} "
        f"FROM (SELECT *, row_number() OVER () AS line FROM read_json([{files}], format='newline_delimited', "
        "union_by_name=true, filename=true, ignore_errors=true, sample_size=-1)) AS raw "
        # A join keeps no order; readers count on the stored one (epochs in turn, layers as in the network).
        f"JOIN runs ON raw.filename = runs.file {own_run} WHERE kind IS NOT NULL ORDER BY raw.line"
    )
    return connection


def records(root: Path | str | Sequence[Path | str], *, unfinished: bool = False) -> list[Record]:
    """The runs below ``root``, each once: a folder of its own comes before an archive that holds the run too.

    Args:
        root: A folder of run folders, a run folder, an archive, or several.
        unfinished: Whether runs that have not ended are read as well, as far as they came.

    Raises:
        ValueError: there is no run to read.
        PruningError: a finished run or an archive is damaged.
    """
    roots = [Path(root)] if isinstance(root, str | Path) else [Path(each) for each in root]
    archives = [each for each in roots if Archive.at(each)]
    found = [folder for each in roots if each not in archives for folder in folders(each)]
    kept = [folder for folder in found if folder.finished or (unfinished and folder.rows.path.exists())]
    for folder in kept:
        if folder.finished and (damaged := folder.damaged()):
            raise PruningError(
                f"{folder.path} is damaged ({', '.join(damaged)}): its checksums do not hold. Run its spec again; "
                "it goes on from its last good checkpoint."
            )
    by_run = {record.run: record for record in map(Record.of, kept)}
    for record in (record for each in archives for record in Archive(each).records):
        by_run.setdefault(record.run, record)
    if not by_run:
        raise invalid("read(root=)", "a folder with finished runs", str(root), "Run something, or let it finish.")
    return list(by_run.values())


def read(
    root: Path | str | Sequence[Path | str], kind: str | None = None, *, unfinished: bool = False
) -> list[dict[str, object]]:
    """The rows of all runs below ``root`` as dictionaries, each with the columns of its run and without nulls.

    Args:
        root: A folder of run folders, a run folder, or several.
        kind: Only rows of this kind, such as ``"result"``.
        unfinished: See :func:`connect`.

    Raises:
        ValueError: there is no run to read.
        PruningError: a finished run is damaged.
    """
    return rows_of(records(root, unfinished=unfinished), kind)


def rows_of(found: Sequence[Record], kind: str | None = None) -> list[dict[str, object]]:
    """The rows of some runs; see :func:`read`."""
    with _connected(found) as connection:
        where, values = ("WHERE kind = ?", [kind]) if kind else ("", [])
        result = connection.execute(f"SELECT * FROM rows {where}", values)
        names = [column[0] for column in result.description or ()]
        lines = result.fetchall()
    return [{name: value for name, value in zip(names, line, strict=True) if value is not None} for line in lines]


def answered(root: Path | str) -> set[str]:
    """The questions (:attr:`Spec.question`) of the runs below ``root`` that ended and are sound; none where it is not.

    Raises:
        PruningError: an archive is damaged.
    """
    root = Path(root)
    if Archive.at(root):
        return {record.spec.question for record in Archive(root).records}
    found = [RunFolder(path.parent) for path in root.glob("**/DONE")]
    return {folder.spec.question for folder in found if not folder.damaged()}


def _facts(found: Sequence[Record]) -> list[list[object]]:
    """A line of the table of runs for each of them."""
    facts: list[list[object]] = []
    for record, differs in zip(found, settings([record.spec for record in found]), strict=True):
        columns = {**record.spec.columns, "setting": json.dumps(differs) if differs else None}
        latency = record.latency or {}
        values = [*(columns[name] for name in COLUMNS), *(latency.get(name) for name in LATENCY)]
        facts.append([*values, str(record.file)])
    return facts
