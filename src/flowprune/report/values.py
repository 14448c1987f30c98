"""Reading one value out of a stored row, where anything may be absent or not finite."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

Row = Mapping[str, object]
"""One stored row: a flat JSON object with a ``kind``."""


def number(row: Row, key: str) -> float | None:
    """The finite number under ``key``, or None where it is absent, NaN, infinite or no number.

    Example:
        >>> number({"loss": 2}, "loss"), number({"loss": float("nan")}, "loss"), number({}, "loss")
        (2.0, None, None)
    """
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def several(row: Row, key: str) -> list[float]:
    """The numbers of the list under ``key``; empty where there is none, or one of them is not finite.

    Example:
        >>> several({"first": [1, 2.5]}, "first"), several({}, "first")
        ([1.0, 2.5], [])
    """
    value = row.get(key)
    if not isinstance(value, list):
        return []
    found = [number({key: each}, key) for each in cast("list[object]", value)]
    return [each for each in found if each is not None] if None not in found else []


def words(row: Row, key: str) -> tuple[str, ...]:
    """The texts of the list under ``key``; empty where there is none.

    Example:
        >>> words({"layers": ["stem", "head"]}, "layers")
        ('stem', 'head')
    """
    value = row.get(key)
    return tuple(str(each) for each in cast("list[object]", value)) if isinstance(value, list) else ()


def numbers(rows: Iterable[Row], key: str) -> list[float]:
    """The finite numbers under ``key``, in the order of the rows; rows without one are passed over.

    Example:
        >>> numbers([{"loss": 2}, {}, {"loss": 1}], "loss")
        [2.0, 1.0]
    """
    return [value for row in rows if (value := number(row, key)) is not None]


def text(row: Row, key: str, default: str = "") -> str:
    """The value under ``key`` as text, or ``default`` where it is absent.

    Example:
        >>> text({"seed": 3}, "seed"), text({}, "seed", "?")
        ('3', '?')
    """
    value = row.get(key)
    return default if value is None else str(value)


def setting(row: Row) -> tuple[tuple[str, str], ...]:
    """What tells a row's run from others beside measure, rounds, sparsity and seed: fields and values, as text.

    Example:
        >>> setting({"setting": '{"train.batch": 32}'}), setting({})
        ((('train.batch', '32'),), ())
    """
    stored = row.get("setting")
    fields: object = json.loads(stored) if isinstance(stored, str) else {}
    if not isinstance(fields, dict):
        return ()
    return tuple((str(path), _words(value)) for path, value in fields.items())


def _words(value: object) -> str:
    return value if isinstance(value, str) else "default" if value is None else json.dumps(value)


def whole(row: Row, key: str, default: int = 0) -> int:
    """The number under ``key`` as an int, or ``default``.

    Example:
        >>> whole({"round": 2.0}, "round"), whole({}, "round")
        (2, 0)
    """
    value = number(row, key)
    return default if value is None else int(value)


def kind(rows: Iterable[Row], name: str) -> list[Row]:
    """The rows of one kind, in their stored order.

    Example:
        >>> len(kind([{"kind": "cut"}, {"kind": "epoch"}], "cut"))
        1
    """
    return [row for row in rows if row.get("kind") == name]


def recorded(rows: Iterable[Row], key: str) -> bool:
    """Whether any row says anything under ``key``.

    Example:
        >>> recorded([{"a": None}, {"a": float("nan")}], "a"), recorded([{"a": None}], "a")
        (True, False)
    """
    return any(row.get(key) is not None for row in rows)


def finite(rows: Sequence[Row], *keys: str) -> tuple[list[Row], tuple[str, ...]]:
    """The rows that hold a finite number under every key, and a note on each key that some rows lack.

    A value that cannot be drawn is never dropped in silence: the note goes under the figure.

    Example:
        >>> rows = [{"run": "a", "loss": 1.0}, {"run": "b", "loss": float("nan")}]
        >>> kept, notes = finite(rows, "loss")
        >>> len(kept), notes
        (1, ('loss is missing or not finite in 1 of 2 rows (run b): left out.',))
    """
    notes: list[str] = []
    for key in keys:
        bad = [row for row in rows if number(row, key) is None]
        if bad:
            runs = sorted({text(row, "run", "?")[:8] for row in bad})
            named = ", ".join(runs[:4]) + (f" and {len(runs) - 4} more" if len(runs) > 4 else "")
            plural = "s" if len(runs) > 1 else ""
            notes.append(
                f"{key} is missing or not finite in {len(bad)} of {len(rows)} rows (run{plural} {named}): left out."
            )
    return [row for row in rows if all(number(row, key) is not None for key in keys)], tuple(notes)
