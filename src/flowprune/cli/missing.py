"""Which runs of a study are not there yet, in words, and the commands that make them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowprune.experiments.spec import Spec
    from flowprune.experiments.study import Study
    from flowprune.report.needs import Needs

FIRST = ("model.name", "data.name", "prune.measure", "prune.rounds", "prune.sparsity", "prune.granularity", "seed")
"""Fields in the order in which a command names them; others of a study follow."""


def finished(runs: Path) -> list[Spec]:
    """The specs of the finished runs below ``runs``; none where nothing has been run yet.

    Raises:
        PruningError: a finished run is damaged.
    """
    from flowprune.experiments import store

    try:
        return [record.spec for record in store.records(runs)]
    except ValueError:
        return []


def missing(study: Study, needs: Needs, found: Sequence[Spec]) -> tuple[Spec, ...]:
    """The runs of a study that a figure or table shows and that are not among those found.

    A run that was done on another device, by other threads or in another form of execution is there.
    """
    there = {_same(spec) for spec in found}
    return tuple(spec for spec in needs.of(study.specs) if _same(spec) not in there)


def _same(spec: Spec) -> str:
    from flowprune.experiments.settings import ExecutionSpec

    return spec.model_copy(update={"device": "cpu", "threads": 1, "execution": ExecutionSpec()}).run_id


def report_missing(study: Study, needs: Needs, runs: Path, say: Callable[[str], None]) -> None:
    """Say which cells are missing, with their seeds, and by which commands they are made; nothing where none is."""
    found = finished(runs)
    wanted = missing(study, needs, found)
    if not wanted:
        return
    known = {spec.run_id for spec in wanted}
    others = [spec for spec in study.missing({spec.run_id for spec in found}) if spec.run_id not in known]
    for line in _lines(study, needs, wanted, others, runs):
        say(line)


def _lines(study: Study, needs: Needs, wanted: Sequence[Spec], others: Sequence[Spec], runs: Path) -> Iterator[str]:
    from flowprune.experiments.archive import Archive
    from flowprune.experiments.study import cells

    yield f"{len(wanted)} of {len(needs.of(study.specs))} runs of the study {study.name!r} are missing:"
    for cell, seeds in cells(wanted).items():
        yield f"  {cell}: seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
    commands = filters(study, wanted, others)
    yield "This makes them:" if len(commands) == 1 else "These make them:"
    archived = Archive.at(runs)
    target = ["--archive", str(runs), "--runs", "runs"] if archived else ["--runs", str(runs)]
    for only in commands:
        words = [word for text in only for word in ("--only", text)]
        yield f"  {shlex.join(['flowprune', 'sweep', '--study', study.name, *words, *target])}"
    if archived:
        yield f"  {shlex.join(['flowprune', 'collect', 'runs', '--into', str(runs)])}"


def filters(study: Study, wanted: Sequence[Spec], others: Sequence[Spec]) -> list[tuple[str, ...]]:
    """The ``--only`` options of few commands that together choose every wanted run and, where they can, no other.

    A run that is neither wanted nor among the others is finished: a command may choose it, since it is skipped.

    Example:
        >>> from flowprune.experiments.studies import STUDIES
        >>> demo = STUDIES["demo"]
        >>> dense = [spec for spec in demo.specs if spec.prune is None]
        >>> filters(demo, dense, [spec for spec in demo.specs if spec.prune])
        [('prune.measure=dense',)]
        >>> filters(demo, demo.specs, [])
        [()]
    """
    only = _only(study, wanted)
    if not _chosen(others, only):
        return [_shortened(only, others)]
    parts = [part for part in _splits(study, wanted) if len(part) > 1]
    if not parts:
        return [only]
    best = min(parts, key=lambda part: (sum(bool(_chosen(others, _only(study, own))) for own in part), len(part)))
    return [found for own in best for found in filters(study, own, others)]


def _fields(study: Study) -> list[str]:
    """The fields in which the runs of a study differ, and whose values an option can hold."""
    from flowprune.experiments.telling import differing

    plain = [
        path
        for path, values in differing(study.specs).items()
        if path != "prune" and not any(isinstance(value, list | dict) for value in values)
    ]
    return sorted({*plain, *FIRST}, key=lambda path: (FIRST.index(path) if path in FIRST else len(FIRST), path))


def _only(study: Study, wanted: Sequence[Spec]) -> tuple[str, ...]:
    """The fields that narrow a study to what the wanted runs have in them."""
    from flowprune.experiments.telling import field_of

    found: list[str] = []
    for path in _fields(study):
        values = list(dict.fromkeys(field_of(spec, path) for spec in wanted))
        everything = {field_of(spec, path) for spec in study.specs} - {None}
        if None not in values and set(values) < everything:
            found.append(f"{path}={','.join(map(str, values))}")
    return tuple(found)


def _shortened(only: Sequence[str], others: Sequence[Spec]) -> tuple[str, ...]:
    """As few of the options as keep the others out, the last ones dropped first."""
    kept = list(only)
    for text in reversed(only):
        fewer = [each for each in kept if each != text]
        if not _chosen(others, fewer):
            kept = fewer
    return tuple(kept)


def _chosen(specs: Sequence[Spec], only: Sequence[str]) -> list[Spec]:
    from flowprune.cli.sweep import chosen

    try:
        return chosen(specs, only)
    except ValueError:  # none has these values
        return []


def _splits(study: Study, wanted: Sequence[Spec]) -> Iterator[list[list[Spec]]]:
    """The wanted runs parted in different ways: dense from pruned, and by the values of each field."""
    from flowprune.experiments.telling import field_of

    for path in ("", *_fields(study)):
        parts: dict[object, list[Spec]] = {}
        for spec in wanted:
            parts.setdefault(field_of(spec, path) if path else spec.prune is None, []).append(spec)
        yield list(parts.values())
