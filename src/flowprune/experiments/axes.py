"""The product of axes: many specs from one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from itertools import product
from typing import cast

from flowprune.core.errors import invalid
from flowprune.experiments.spec import Spec, override


def expand(spec: Spec, axes: Mapping[str, Sequence[object]]) -> list[Spec]:
    """Every combination of the axes' values, the last axis fastest; equal specs appear once.

    Args:
        spec: What all runs share.
        axes: Dotted paths of fields, each with its values. A dense run has no rounds to vary, so a measure
            axis with ``"dense"`` beside a rounds axis gives one dense run.

    Raises:
        ValueError: an axis without values, a field that no spec has, or a value it cannot take.

    Example:
        >>> from flowprune.experiments.spec import parse
        >>> base = parse({"model": {"name": "mlp"}, "data": {"name": "digits"}, "prune": {"measure": "fisher"}})
        >>> len(expand(base, {"prune.measure": ["dense", "magnitude"], "prune.rounds": [1, 5], "seed": [0, 1]}))
        6
    """
    for path, values in axes.items():
        if isinstance(values, str) or not values:
            raise invalid(f"expand(axes[{path!r}])", "a list of one value or more", values)
    specs = (override(spec, dict(zip(axes, values, strict=True))) for values in product(*axes.values()))
    return list({each.run_id: each for each in specs}.values())


def differing(specs: Sequence[Spec]) -> dict[str, list[object]]:
    """The fields in which specs differ, by dotted path, each with its values in order of appearance.

    Example:
        >>> from flowprune.experiments.spec import parse
        >>> base = parse({"model": {"name": "mlp"}, "data": {"name": "digits"}})
        >>> differing([base, override(base, {"train.batch": 32})])
        {'train.batch': [64, 32]}
    """
    flat = [_flat(spec.model_dump(mode="json")) for spec in specs]
    values: dict[str, list[object]] = {}
    for path in dict.fromkeys(path for fields in flat for path in fields):
        for fields in flat:
            known = values.setdefault(path, [])
            if path in fields and fields[path] not in known:
                known.append(fields[path])
    return {path: known for path, known in values.items() if len(known) > 1}


def _flat(fields: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in fields.items():
        if isinstance(value, dict) and value:
            flat |= _flat(cast("dict[str, object]", value), f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def parse_axis(text: str) -> tuple[str, list[object]]:
    """An axis as the command line writes it: ``path=value,value``.

    Raises:
        ValueError: it has another form.

    Example:
        >>> parse_axis("prune.measure=magnitude,fisher"), parse_axis("seed=0,1")
        (('prune.measure', ['magnitude', 'fisher']), ('seed', [0, 1]))
    """
    path, sign, values = text.partition("=")
    if not (path.strip() and sign and values.strip()):
        raise invalid("--axis", "of the form path=value,value", text, "For example: --axis seed=0,1,2")
    return path.strip(), [_value(part.strip()) for part in values.split(",")]


def _value(text: str) -> object:
    """A TOML value where the text is one (3, 0.5, true), else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
