"""The index of sparsity schedules that are told by a number of rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any, Final

from flowprune.core.errors import invalid
from flowprune.core.index import Index
from flowprune.schedules.schedule import Schedule

SCHEDULES: Final[Index[Callable[..., Schedule]]] = Index(
    "SCHEDULES",
    {
        "adaptive": "flowprune.schedules.adaptive:adaptive",
        "rounds": "flowprune.schedules.shapes:rounds",
        "exponential": "flowprune.schedules.shapes:exponential",
        "linear": "flowprune.schedules.shapes:linear",
        "cubic": "flowprune.schedules.shapes:cubic",
        "one_shot": "flowprune.schedules.shapes:one_shot",
    },
)
"""``SCHEDULES[name](n, sparsity=None)``; ``one_shot`` takes the sparsity alone, ``adaptive`` has options besides."""
NONE: Final[Mapping[str, Any]] = MappingProxyType({})


def build(name: str, *, rounds: int, sparsity: float | None = None, options: Mapping[str, Any] = NONE) -> Schedule:
    """A schedule by name, the same call for every name.

    Args:
        name: Of ``SCHEDULES``.
        rounds: How many.
        sparsity: The fraction removed at the end.
        options: What the schedule has besides, such as the tolerance of adaptive stages.

    Raises:
        UnknownNameError: the name is in no index.
        ValueError: the schedule cannot have that many rounds, or has no such option.

    Example:
        >>> build("linear", rounds=2, sparsity=0.5).targets()
        (0.25, 0.5)
        >>> build("adaptive", rounds=140, sparsity=0.5, options={"tolerance": 0.3}).adapt.tolerance
        0.3
    """
    make = SCHEDULES[name]
    parameters = signature(make).parameters
    own = [each.name for each in parameters.values() if each.kind is Parameter.KEYWORD_ONLY]
    other = sorted(set(options) - set(own))
    if other:
        rule = f"of {', '.join(own)}" if own else f"left out: {name} has none"
        todo = "" if own else "Take adaptive, which has some, or leave them out."
        raise invalid(f"schedules.build({name!r}, options=)", rule, ", ".join(other), todo)
    told_rounds = len(parameters) > 1  # one_shot is not: it has one
    schedule = make(rounds, sparsity=sparsity, **options) if told_rounds else make(sparsity=sparsity)
    if schedule.rounds != rounds:
        todo = f"The number of rounds is part of {name}."
        raise invalid(f"schedules.build({name!r}, rounds=)", str(schedule.rounds), rounds, todo)
    return schedule
