"""The product of axes: many specs from one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TypeVar, cast

from flowprune.core.errors import invalid
from flowprune.experiments.spec import Spec, override

T = TypeVar("T")


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


def parse_axis(text: str, *, option: str = "--axis") -> tuple[str, list[object]]:
    """An axis as the command line writes it: ``path=value,value``.

    Raises:
        ValueError: it has another form.

    Example:
        >>> parse_axis("prune.measure=magnitude,fisher"), parse_axis("seed=0,1")
        (('prune.measure', ['magnitude', 'fisher']), ('seed', [0, 1]))
        >>> parse_axis('record.agreement=["magnitude", "fisher"]')
        ('record.agreement', [['magnitude', 'fisher']])
    """
    return _axis(option, text, "path=value,value", "seed=0")


def _axis(option: str, text: str, form: str, example: str) -> tuple[str, list[object]]:
    path, sign, values = text.partition("=")
    if not (path.strip() and sign and values.strip()):
        raise invalid(option, f"of the form {form}", text, f"For example: {option} {example}")
    return path.strip(), _values(values)


def distinct(option: str, settings: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Settings by field, each field once.

    Raises:
        ValueError: one is set twice; the last would silently win.
    """
    found: dict[str, T] = {}
    for field, value in settings:
        if field in found:
            raise invalid(option, "given once for each field", field, "Two values of one field cannot both hold.")
        found[field] = value
    return found


def assignments(option: str, texts: Iterable[str], *, many: str = "", example: str = "seed=0") -> dict[str, object]:
    """Fields that an option sets, each once and to one value.

    Args:
        option: As it is typed.
        texts: ``field=value``, one for each time that it was given.
        many: What to do for many values.
        example: Of one.

    Raises:
        ValueError: another form, a field that is set twice, or several values.

    Example:
        >>> assignments("--set", ["seed=3", "prune.measure=lm"])
        {'seed': 3, 'prune.measure': 'lm'}
    """
    found = distinct(option, (_axis(option, text, "field=value", example) for text in texts))
    for field, values in found.items():
        if len(values) != 1:
            raise invalid(option, "one value for one field", field, many)
    return {field: value for field, (value,) in found.items()}


def _values(text: str) -> list[object]:
    """The values between commas: TOML values where all of them are, so that a list may be one of them."""
    try:
        found = tomllib.loads(f"values = [{text}]")
    except tomllib.TOMLDecodeError:
        return [_value(part.strip()) for part in text.split(",")]
    return cast("list[object]", found["values"])


def _value(text: str) -> object:
    """A TOML value where the text is one (3, 0.5, true), a boolean as Python writes it, else the text itself."""
    text = {"True": "true", "False": "false"}.get(text, text)
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
