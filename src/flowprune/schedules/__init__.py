"""How much is removed after each round, and the learning rate meanwhile: pure arithmetic, without torch."""

from __future__ import annotations

from flowprune.schedules import lr
from flowprune.schedules.counts import counts
from flowprune.schedules.names import SCHEDULES, build
from flowprune.schedules.schedule import Schedule
from flowprune.schedules.shapes import cubic, exponential, linear, manual, one_shot, rounds, rounds_truncated

__all__ = [
    "SCHEDULES",
    "Schedule",
    "build",
    "counts",
    "cubic",
    "exponential",
    "linear",
    "lr",
    "manual",
    "one_shot",
    "rounds",
    "rounds_truncated",
]
