"""What a run says while it works."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Event:
    """One thing said by one run.

    Attributes:
        run: The run id.
        kind: ``start``, ``progress``, ``note`` (something a person should know), ``done``, ``failed`` or
            ``skipped`` (finished before).
        text: In words.
        done: Epochs behind.
        total: Epochs in all.
    """

    run: str
    kind: Literal["start", "progress", "note", "done", "failed", "skipped"]
    text: str = ""
    done: int = 0
    total: int = 0


Listener = Callable[[Event], None]


def warn(event: Event) -> None:
    """The listener of last resort: notes become warnings, everything else is dropped."""
    if event.kind == "note":
        warnings.warn(f"run {event.run}: {event.text}", stacklevel=2)
