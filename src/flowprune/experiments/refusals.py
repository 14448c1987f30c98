"""Why a spec was refused, in the house form: pydantic's findings, one line for each field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowprune.core.errors import unknown
from flowprune.experiments.frozen import Frozen

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

Place = tuple[str, ...]


def lines(where: str, spec: type[BaseModel], problems: Sequence[ErrorDetails], rules: Mapping[str, str]) -> str:
    """One line for each field that was refused; the members of a union share the line of their field.

    Args:
        where: What was read, such as the path of a file.
        spec: The record that was asked for.
        problems: What pydantic found.
        rules: For a pattern that a text must have, what that is in words.
    """
    found: dict[Place, list[ErrorDetails]] = {}
    for problem in problems:
        found.setdefault(_place(spec, problem["loc"]), []).append(problem)
    return "\n".join(_line(where, spec, place, own, rules) for place, own in found.items())


def _line(
    where: str, spec: type[BaseModel], place: Place, problems: Sequence[ErrorDetails], rules: Mapping[str, str]
) -> str:
    first = problems[0]
    if first["type"] == "extra_forbidden":
        *level, name = place
        inside = f"{where}({'.'.join(level)})" if level else where
        return str(unknown(inside, name, _fields(spec, level)))
    location = f"{where}({'.'.join(place) or 'the whole'})"
    if first["type"] == "missing":
        return f"{location} must be given."
    said = dict.fromkeys(_rule(problem, rules) for problem in problems)
    return f"{location} must be {', or '.join(said)}; got {first['input']!r}."


def _rule(problem: ErrorDetails, rules: Mapping[str, str]) -> str:
    pattern = str(problem.get("ctx", {}).get("pattern", ""))
    if pattern in rules:
        return rules[pattern]
    for head in ("Input should be ", "Value should be "):
        if problem["msg"].startswith(head):
            return problem["msg"].removeprefix(head)
    return problem["msg"]


def _place(spec: type[BaseModel], location: Sequence[int | str]) -> Place:
    """The part of pydantic's location that names a field; what follows names a member of a union."""
    place: list[str] = []
    level: type[BaseModel] | None = spec
    for step in map(str, location):
        if level is None:
            break
        place.append(step)
        kind = level.model_fields[step].annotation if step in level.model_fields else None
        level = _record(kind)
        if getattr(kind, "__origin__", None) is Frozen and len(place) < len(location):
            place.append(str(location[len(place)]))  # a key of a mapping
    return tuple(place)


def _fields(spec: type[BaseModel], level: Sequence[str]) -> list[str]:
    for step in level:
        spec = _record(spec.model_fields[step].annotation) or spec
    return list(spec.model_fields)


def _record(kind: Any) -> type[BaseModel] | None:
    """The record that a field holds, if it holds one (or one or None)."""
    from pydantic import BaseModel

    members = (kind, *getattr(kind, "__args__", ()))
    return next((each for each in members if isinstance(each, type) and issubclass(each, BaseModel)), None)
