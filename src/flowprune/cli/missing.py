"""Which runs of a study are not there yet, in words, and the commands that make them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowprune.experiments.spec import Spec
    from flowprune.experiments.study import Study
    from flowprune.report.needs import Needs

FIRST = ("model.name", "data.name", "prune.measure", "prune.rounds", "prune.sparsity", "prune.granularity", "seed")
"""Fields in the order in which a command names them; others of a study follow."""


Facts = Mapping[str, object]
"""A run by its fields."""
Only = dict[str, list[object]]
"""For each field that is narrowed, the values that are chosen."""


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


def shown(study: Study, asked: Sequence[Needs]) -> tuple[Spec, ...]:
    """The runs of a study that figures or tables show, each once."""
    return tuple({spec.run_id: spec for needs in asked for spec in needs.of(study.specs)}.values())


def report_missing(study: Study, asked: Sequence[Needs], runs: Path, say: Callable[[str], None]) -> None:
    """Say which cells are missing, with their seeds, and by which commands they are made; nothing where none is."""
    from flowprune.experiments.study import unanswered

    found, whole = finished(runs), shown(study, asked)
    wanted = unanswered(whole, found)
    if not whole:
        fields = " or ".join(dict.fromkeys(needs.field or needs.kind for needs in asked))
        say(f"The study {study.name!r} has no run that records this: none sets {fields}.")
    if not wanted:
        return
    known = {spec.run_id for spec in wanted}
    others = [spec for spec in study.missing(found) if spec.run_id not in known]
    say(f"{len(wanted)} of {len(whole)} runs of the study {study.name!r} are missing:")
    for line in _lines(study, wanted, others, runs):
        say(line)


def _lines(study: Study, wanted: Sequence[Spec], others: Sequence[Spec], runs: Path) -> Iterator[str]:
    from flowprune.experiments.archive import Archive
    from flowprune.experiments.study import cells

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
    if not wanted:
        return []
    fields = _fields(study)
    every = _facts(study.specs, fields)
    return [_options(only) for only in _parted(every, _facts(wanted, fields), _facts(others, fields))]


def _fields(study: Study) -> list[str]:
    """The fields in which the runs of a study differ, and whose values an option can hold."""
    from flowprune.experiments.telling import differing

    plain = [
        path
        for path, values in differing(study.specs).items()
        if path != "prune" and not any(isinstance(value, list | dict) for value in values)
    ]
    return sorted({*plain, *FIRST}, key=lambda path: (FIRST.index(path) if path in FIRST else len(FIRST), path))


def _facts(specs: Sequence[Spec], fields: Sequence[str]) -> list[Facts]:
    from flowprune.experiments.telling import field_of

    return [{path: field_of(spec, path) for path in fields} for spec in specs]


def _options(only: Only) -> tuple[str, ...]:
    return tuple(f"{path}={','.join(map(str, values))}" for path, values in only.items())


def _parted(every: Sequence[Facts], wanted: Sequence[Facts], others: Sequence[Facts]) -> list[Only]:
    """One set of options where it leaves the others out, else those of the parts of the best way to part the wanted."""
    only = _only(every, wanted)
    if not _chooses(only, others):
        return [_shortened(only, others)]
    ways = [parts for parts in _ways(wanted) if len(parts) > 1]
    if not ways:
        return [only]
    best = min(ways, key=lambda parts: (sum(_chooses(_only(every, part), others) for part in parts), len(parts)))
    return [found for part in best for found in _parted(every, part, others)]


def _only(every: Sequence[Facts], wanted: Sequence[Facts]) -> Only:
    """The fields that narrow a study to what the wanted runs have in them; a dense run has no rounds to name."""
    found: dict[str, list[object]] = {}
    for path in wanted[0]:
        values = list(dict.fromkeys(facts[path] for facts in wanted))
        if None not in values and len(values) < len({facts[path] for facts in every} - {None}):
            found[path] = values
    return found


def _chooses(only: Only, runs: Sequence[Facts]) -> bool:
    """Whether any of the runs has one of the values in each field."""
    return any(all(facts[path] in values for path, values in only.items()) for facts in runs)


def _shortened(only: Only, others: Sequence[Facts]) -> Only:
    """As few of the fields as keep the others out, the last ones dropped first."""
    kept = dict(only)
    for path in reversed(only):
        fewer = {each: values for each, values in kept.items() if each != path}
        if not _chooses(fewer, others):
            kept = fewer
    return kept


def _ways(wanted: Sequence[Facts]) -> Iterator[list[list[Facts]]]:
    """The wanted runs parted in different ways: dense from pruned, and by the values of each field."""
    for path in ("", *wanted[0]):
        parts: dict[object, list[Facts]] = {}
        for facts in wanted:
            parts.setdefault(facts[path] if path else facts["prune.measure"] == "dense", []).append(facts)
        yield list(parts.values())
