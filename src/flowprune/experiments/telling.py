"""What tells runs apart that are read together: the fields in which they differ and that no column says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

from flowprune.core.errors import unknown
from flowprune.experiments.settings import PruneSpec
from flowprune.experiments.spec import Spec
from flowprune.measures.index import MEASURES

Flat = Mapping[str, object]

COLUMN_FIELDS: Final = (
    "prune",
    "prune.measure",
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
_MAPPINGS = ("model.options", "data.options", "train.milestones", "prune.when_options")


def settings(specs: Sequence[Spec]) -> list[dict[str, object]]:
    """What tells each run apart that no column says: its values of the other fields in which its peers differ.

    Peers have the model and the data set in common and, where it is about how they prune, the sparsity and the kind of
    units. ``name`` and what is recorded, which change no number, are told only of runs that differ in nothing else; a
    scoring temperature is told only where it is not the one published for the measure.

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
    told = [
        [p for p in alike[_where(spec)] if not p.startswith("prune.")]
        + [p for p in cut[_kind(spec)] if p.startswith("prune.")]
        for spec in specs
    ]
    return [_told(fields, _visible(paths, hidden)) for fields, paths in zip(flat, told, strict=True)]


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
    return "dense" if path == "prune.measure" and spec.prune is None else fields.get(path)


def _where(spec: Spec) -> tuple[object, ...]:
    return spec.model.name, spec.data.name


def _kind(spec: Spec) -> tuple[object, ...]:
    cut = spec.prune
    return (*_where(spec), *((cut.sparsity, cut.granularity) if cut else ()))


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


def _told(fields: Flat, paths: Iterable[str]) -> dict[str, object]:
    there = (path for path in paths if path in fields or path.startswith(_MAPPINGS))
    found = {path: fields.get(path) for path in there}
    if TEMPERATURE in found and not isinstance(found[TEMPERATURE], float):
        own = MEASURES[str(fields["prune.measure"])].temperature
        if found[TEMPERATURE] is None and own is not None:
            found[TEMPERATURE] = "of training"
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
