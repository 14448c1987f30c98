"""What the report is made from: the stored rows, specs and surroundings of finished runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from flowprune.core.errors import invalid
from flowprune.report.about import about
from flowprune.report.values import Row, text


@dataclass(frozen=True, eq=False)
class Evidence:
    """Rows of all runs, with what their specs say besides; for each run id its spec and environment, where stored.

    Both are flat: nested fields are joined by dots, as in ``"train.epochs"``.
    """

    rows: tuple[Row, ...]
    specs: Mapping[str, Mapping[str, object]] = field(default_factory=dict[str, Mapping[str, object]])
    environments: Mapping[str, Mapping[str, object]] = field(default_factory=dict[str, Mapping[str, object]])


def load(runs: Path | str) -> Evidence:
    """Read every finished run below ``runs``, or of an archive.

    Raises:
        ValueError: there is no finished run.
        PruningError: a finished run is damaged.
    """
    from flowprune.experiments import store

    root = Path(runs)
    if not root.is_dir():
        raise invalid("report.write(runs=)", "a folder of run folders", str(runs), "Run something first.")
    stored = store.records(root)
    read = store.rows_of(stored)
    if not read:
        raise invalid(
            "report.write(runs=)", "a folder with finished runs that stored rows", str(runs), "Run one first."
        )
    names = {text(row, "run") for row in read}
    found = {record.run: record for record in stored if record.run in names}
    specs = {name: _flat(found[name].spec.model_dump(mode="json")) for name in sorted(found)}
    told = {name: about(spec) for name, spec in specs.items()}
    rows = tuple({**row, **told.get(text(row, "run"), {})} for row in read)
    environments = {name: _flat(found[name].environment) for name in sorted(found) if found[name].environment}
    return Evidence(rows, specs, environments)


def _flat(fields: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in fields.items():
        if isinstance(value, dict) and value:
            flat |= _flat(cast("Mapping[str, object]", value), f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
