"""The index of sparsity schedules that are told by a number of rounds."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Final

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
"""``SCHEDULES[name](n, sparsity=None)``; ``one_shot`` takes the sparsity alone."""


def build(name: str, *, rounds: int, sparsity: float | None = None) -> Schedule:
    """A schedule by name, the same call for every name.

    Raises:
        UnknownNameError: the name is in no index.
        ValueError: the schedule cannot have that many rounds.

    Example:
        >>> build("linear", rounds=2, sparsity=0.5).targets()
        (0.25, 0.5)
    """
    make = SCHEDULES[name]
    told_rounds = len(signature(make).parameters) > 1  # one_shot is not: it has one
    schedule = make(rounds, sparsity=sparsity) if told_rounds else make(sparsity=sparsity)
    if schedule.rounds != rounds:
        todo = f"The number of rounds is part of {name}."
        raise invalid(f"schedules.build({name!r}, rounds=)", str(schedule.rounds), rounds, todo)
    return schedule
