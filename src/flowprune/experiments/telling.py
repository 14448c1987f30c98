"""What tells runs apart that are read together: the fields in which they differ and that no column says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

from flowprune.core.errors import unknown
from flowprune.experiments.settings import PruneSpec
from flowprune.experiments.spec import HOW, Spec
from flowprune.measures.index import MEASURES

Flat = Mapping[str, object]

COLUMN_FIELDS: Final = (
    "prune",
    "prune.measure",
    "prune.recipe",
    "prune.rounds",
    "prune.sparsity",
    "prune.granularity",
    "seed",
    "model.name",
    "data.name",
)
"""Fields that have a column of their own in every table (a dense run is the measure ``"dense"``), or are its seeds."""
TEMPERATURE: Final = "prune.temperature"
QUIET: Final = ("name", "record")
"""Fields that change no number that is compared."""
_MAPPINGS = ("model.options", "data.options", "train.milestones", "prune.schedule_options", "prune.when_options")


def settings(specs: Sequence[Spec]) -> list[dict[str, object]]:
    """What tells each run apart that no column says: its values of the other fields in which its peers differ.

    Peers have the model and the data set in common and, where it is about how they prune, the sparsity and the kind of
    units. ``name`` and what is recorded, which change no number, are told only of runs that differ in nothing else; how
    a run is computed (:data:`~flowprune.experiments.spec.HOW`) only where peers answer one question twice; a scoring
    temperature only where a measure has several, or another than the published one; a schedule that is adaptive always.

    Example:
        >>> from flowprune.experiments.spec import override, parse
        >>> base = parse({"model": {"name": "mlp"}, "data": {"name": "digits"}})
        >>> settings([base, override(base, {"train.batch": 32, "seed": 1})])
        [{'train.batch': 64}, {'train.batch': 32}]
    """
    flat = [_flat(spec.model_dump(mode="json")) for spec in specs]
    loud = {json.dumps(_without(fields, QUIET), sort_keys=True) for fields in flat}
    hidden = COLUMN_FIELDS if len(loud) < len(flat) else (*COLUMN_FIELDS, *QUIET)
    alike = _grouped(flat, [(spec.model.name, spec.data.name) for spec in specs])
    cut = _grouped(flat, [_kind(spec) for spec in specs])
    twice, warm = _asked_twice(specs), _scored_apart(specs)
    told = [
        [p for p in alike[_where(spec)] if not p.startswith("prune.") and (_where(spec) in twice or not _how(p))]
        + [p for p in _sized(spec, cut[_kind(spec)]) if p.startswith("prune.")]
        for spec in specs
    ]
    return [
        _told(fields, _visible(paths, hidden), apart=_scored(spec) in warm)
        for spec, fields, paths in zip(specs, flat, told, strict=True)
    ]


def differing(specs: Sequence[Spec]) -> dict[str, list[object]]:
    """The fields in which specs differ, by dotted path, each with its values in order of appearance.

    Example:
        >>> from flowprune.experiments.spec import override, parse
        >>> base = parse({"model": {"name": "mlp"}, "data": {"name": "digits"}})
        >>> differing([base, override(base, {"train.batch": 32})])
        {'train.batch': [64, 32]}
    """
    return _differing([_flat(spec.model_dump(mode="json")) for spec in specs])


def field_of(spec: Spec, path: str) -> object:
    """The value of a field by dotted path, as JSON has it; a dense run's measure is ``"dense"``.

    Raises:
        ValueError: no spec has such a field.

    Example:
        >>> from flowprune.experiments.spec import parse
        >>> spec = parse({"model": {"name": "mlp"}, "data": {"name": "digits"}})
        >>> field_of(spec, "train.batch"), field_of(spec, "prune.measure"), field_of(spec, "prune.rounds")
        (64, 'dense', None)
    """
    known = _flat(spec.model_copy(update={"prune": PruneSpec(measure="dense")}).model_dump(mode="json"))
    if path not in known and not path.startswith(_MAPPINGS):
        raise unknown("Spec", path, known)
    fields = _flat(spec.model_dump(mode="json"))
    if path == "prune.measure":
        return "dense" if spec.prune is None else spec.prune.method
    return fields.get(path)


def _where(spec: Spec) -> tuple[object, ...]:
    return spec.model.name, spec.data.name


def _kind(spec: Spec) -> tuple[object, ...]:
    cut = spec.prune
    return (*_where(spec), *((cut.sparsity, cut.granularity) if cut else ()))


def _how(path: str) -> bool:
    return path.partition(".")[0] in HOW and path not in QUIET


def _asked_twice(specs: Sequence[Spec]) -> set[tuple[object, ...]]:
    """Models and data sets of which one question is answered by more than one run."""
    counts = Counter((_where(spec), spec.question) for spec in specs)
    return {where for (where, _), count in counts.items() if count > 1}


def _sized(spec: Spec, paths: Sequence[str]) -> Sequence[str]:
    """With the schedule where it is adaptive: rounds are then the most that there may be."""
    adaptive = spec.prune is not None and spec.prune.schedule == "adaptive"
    return ["prune.schedule", *paths] if adaptive and "prune.schedule" not in paths else paths


def _scored(spec: Spec) -> tuple[object, ...]:
    return (*_kind(spec), spec.prune.method if spec.prune else None)


def _scored_apart(specs: Sequence[Spec]) -> set[tuple[object, ...]]:
    """Peers, and a measure of theirs, that are scored at more than one temperature."""
    found: dict[tuple[object, ...], set[object]] = {}
    for spec in specs:
        if spec.prune is not None and spec.prune.recipe is None:
            asked = spec.prune.temperature
            own = MEASURES[spec.prune.measure].temperature if asked == "published" else asked
            found.setdefault(_scored(spec), set()).add(spec.objective.temperature if own is None else own)
    return {key for key, temperatures in found.items() if len(temperatures) > 1}


def _grouped(flat: Sequence[Flat], keys: Sequence[tuple[object, ...]]) -> dict[tuple[object, ...], list[str]]:
    """For each key, the fields in which the specs of it differ."""
    groups: dict[tuple[object, ...], list[Flat]] = {}
    for fields, key in zip(flat, keys, strict=True):
        groups.setdefault(key, []).append(fields)
    return {key: list(_differing(own)) for key, own in groups.items()}


def _differing(flat: Sequence[Flat]) -> dict[str, list[object]]:
    values: dict[str, list[object]] = {}
    for path in dict.fromkeys(path for fields in flat for path in fields):
        known = values.setdefault(path, [])
        for fields in flat:  # an option or a milestone that a run lacks tells it apart: None
            told = path in fields or path.startswith(_MAPPINGS)
            if told and fields.get(path) not in known:
                known.append(fields.get(path))
    return {path: known for path, known in values.items() if len(known) > 1}


def _visible(paths: Iterable[str], hidden: Sequence[str]) -> list[str]:
    inside = tuple(f"{name}." for name in hidden if name in QUIET)
    return [path for path in paths if path not in hidden and not path.startswith(inside or "\0")]


def _told(fields: Flat, paths: Iterable[str], *, apart: bool) -> dict[str, object]:
    there = (path for path in paths if path in fields or path.startswith(_MAPPINGS))
    found = {path: fields.get(path) for path in there}
    if TEMPERATURE in found and fields["prune.recipe"] is not None and not isinstance(found[TEMPERATURE], float):
        del found[TEMPERATURE]
    elif TEMPERATURE in found and not isinstance(found[TEMPERATURE], float):
        own = MEASURES[str(fields["prune.measure"])].temperature
        if own is not None and found[TEMPERATURE] is None:
            found[TEMPERATURE] = "of training"
        elif own is not None and apart:
            found[TEMPERATURE] = own
        else:
            del found[TEMPERATURE]
    return found


def _without(fields: Flat, names: Sequence[str]) -> dict[str, object]:
    return {path: value for path, value in fields.items() if path.partition(".")[0] not in names}


def _flat(fields: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in fields.items():
        if isinstance(value, dict):
            flat |= _flat(cast("dict[str, object]", value), f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
