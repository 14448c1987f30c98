"""What was run, on what, for how long: the facts at the head of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from flowprune.experiments.spec import HOW
from flowprune.experiments.telling import COLUMN_FIELDS
from flowprune.report.comparisons import DENSE
from flowprune.report.evidence import Evidence
from flowprune.report.shapes.runs import config, grouped
from flowprune.report.values import Row, kind, numbers, text
from flowprune.report.wording import duration, joined, ordered, percent, plain

VERSIONS = ("flowprune", "python", "torch", "numpy")
EXPECTED = (*COLUMN_FIELDS, "name")
QUIET = "record."
"""Fields that say what a run stores beside its results."""
Fact = tuple[str, str]


def facts(evidence: Evidence) -> list[Fact]:
    """Terms and what they are; one that the rows do not tell is left out."""
    rows = evidence.rows
    pruned = [row for row in rows if text(row, "measure", DENSE) != DENSE]
    units = _values(evidence.specs, "prune.granularity")
    sparsities = sorted(set(numbers(pruned, "sparsity")))
    found = [
        ("Data set", joined(_texts(rows, "dataset"))),
        ("Model", joined(_texts(rows, "model"))),
        ("Removed", _removed(sparsities, units)),
        ("Measures", joined([plain(m) for m in ordered(text(row, "measure", DENSE) for row in pruned)])),
        ("Rounds", joined(sorted({str(config(row).rounds) for row in pruned}, key=int))),
        ("Seeds", _seeds(rows)),
        ("Epochs", joined(_numbers(kind(rows, "result"), "epochs"))),
        ("Hardware", _hardware(evidence)),
        ("Versions", _versions(evidence)),
        ("Training time", _time(rows)),
    ]
    return [(term, words) for term, words in found if words and words != "none"]


def lead(rows: Iterable[Row]) -> str:
    """How many runs there are, in one line."""
    runs = grouped(rows, lambda row: text(row, "run", "?"))
    dense = sum(text(own[0], "measure", DENSE) == DENSE for own in runs.values())
    pruned = len(runs) - dense
    return f"{len(runs)} finished run{'' if len(runs) == 1 else 's'}: {dense} dense, {pruned} pruned during training."


def warnings(evidence: Evidence) -> list[str]:
    """What a reader must know before comparing: settings that differ, seeds that repeat."""
    differing = _differing(evidence)
    apart = [key for key in differing if not _how(key) or _told(evidence.rows, key)]
    found = [
        f"Runs differ in {key} ({', '.join(differing[key][:6])}); each value has rows of its own." for key in apart
    ]
    found += pooled(evidence)
    repeats = grouped(
        kind(evidence.rows, "result"),
        lambda row: (text(row, "dataset"), text(row, "model"), text(row, "sparsity"), config(row), text(row, "seed")),
    )
    again = sum(len({text(row, "run") for row in own}) > 1 for own in repeats.values())
    if again:
        found.append(f"In {again} cells of the table one seed occurs more than once, so n counts runs, not seeds.")
    return found


def pooled(evidence: Evidence) -> list[str]:
    """In what runs that are taken together differ: how they were computed, which is no part of what they answer."""
    return [
        f"Runs of one cell differ in {key} ({', '.join(values[:6])}): how they were computed. They are taken together."
        for key, values in _differing(evidence).items()
        if _how(key) and not _told(evidence.rows, key)
    ]


def _how(key: str) -> bool:
    return key.partition(".")[0] in HOW


def _told(rows: Iterable[Row], key: str) -> bool:
    """Whether rows are told apart by a field."""
    return any(key == path for each in {config(row) for row in rows} for path, _ in each.setting)


def _differing(evidence: Evidence) -> dict[str, list[str]]:
    """The fields in which runs that may be compared differ, each with its values; what is recorded changes no number.

    Such are runs of one model and data set and, where it is about how they prune, of one sparsity and kind of units.
    """
    rows = {text(row, "run"): row for row in reversed(evidence.rows)}
    keys = {key for spec in evidence.specs.values() for key in spec if key not in EXPECTED}
    found: dict[str, list[str]] = {}
    for key in sorted(key for key in keys if not key.startswith(QUIET)):
        peers: dict[tuple[str, ...], dict[str, Mapping[str, object]]] = {}
        for run, spec in evidence.specs.items():
            peers.setdefault(_peers(rows.get(run, {}), key), {})[run] = spec
        values = [_values(own, key) for own in peers.values()]
        apart = list(dict.fromkeys(value for each in values if len(each) > 1 for value in each))
        found |= {key: apart} if apart else {}
    return found


def _peers(row: Row, key: str) -> tuple[str, ...]:
    where = ("model", "dataset", "sparsity", "granularity") if key.startswith("prune.") else ("model", "dataset")
    return tuple(text(row, column) for column in where)


def environment(evidence: Evidence) -> list[Fact]:
    """Every field of the runs' environments; where runs differ, each value with the number of runs."""
    keys = dict.fromkeys(key for fields in evidence.environments.values() for key in fields)
    return [(key.replace("_", " "), _counted(evidence.environments, key)) for key in keys]


def settings(evidence: Evidence) -> list[Fact]:
    """Every field of the specs, leaving out empty ones; where runs differ, each value with the number of runs."""
    keys = dict.fromkeys(key for spec in evidence.specs.values() for key in spec if key not in EXPECTED)
    found = [(key, _counted(evidence.specs, key)) for key in keys]
    return [(key, words) for key, words in found if words not in ("{}", "", "None")]


def _counted(sources: Mapping[str, Mapping[str, object]], key: str) -> str:
    counts: dict[str, int] = {}
    for fields in sources.values():
        if key in fields:
            words = _words(fields[key])
            counts[words] = counts.get(words, 0) + 1
    return "; ".join(words if len(counts) == 1 else f"{words or 'none'} ({n} runs)" for words, n in counts.items())


def _values(specs: Mapping[str, Mapping[str, object]], key: str) -> list[str]:
    return list(dict.fromkeys(_words(spec[key]) for spec in specs.values() if key in spec))


def _words(value: object) -> str:
    return ", ".join(map(str, cast("list[object]", value))) if isinstance(value, list) else str(value)


def _texts(rows: Iterable[Row], key: str) -> list[str]:
    return sorted({text(row, key) for row in rows if row.get(key) is not None})


def _numbers(rows: Iterable[Row], key: str) -> list[str]:
    return [f"{value:g}" for value in sorted(set(numbers(rows, key)))]


def _removed(sparsities: list[float], units: list[str]) -> str:
    shares = joined([percent(value, 0 if round(100 * value, 6).is_integer() else 1) for value in sparsities])
    return f"{shares} of the {joined(units) if units else 'units'}" if sparsities else ""


def _seeds(rows: Iterable[Row]) -> str:
    seeds = _numbers(rows, "seed")
    if not seeds:
        return ""
    return f"{len(seeds)} ({', '.join(seeds[:8])}{', …' if len(seeds) > 8 else ''})"


def _hardware(evidence: Evidence) -> str:
    fields = dict(environment(evidence))
    device = fields.get("device", "")
    parts = [fields.get("processor", ""), f"{fields['cores']} cores" if "cores" in fields else ""]
    parts.append(f"threads per run: {fields['threads']}" if "threads" in fields else "")
    parts.append(device if device and device != "cpu" else "")
    return ", ".join(part for part in parts if part)


def _versions(evidence: Evidence) -> str:
    fields = dict(environment(evidence))
    return ", ".join(f"{name} {fields[name]}" for name in VERSIONS if name in fields)


def _time(rows: Iterable[Row]) -> str:
    seconds = numbers(kind(rows, "result"), "train_seconds")
    return f"{duration(sum(seconds))}, sum of runs" if seconds else ""
