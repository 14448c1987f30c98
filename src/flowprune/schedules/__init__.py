"""When is pruned, how much is removed after each round, and the learning rate meanwhile: pure, without torch."""

from __future__ import annotations

from flowprune.schedules import lr
from flowprune.schedules.adaptive import MAX_STAGES, Adapt, adaptive
from flowprune.schedules.counts import counts
from flowprune.schedules.events.combined import all_of, any_of
from flowprune.schedules.events.counted import after, at_latest
from flowprune.schedules.events.event import Event
from flowprune.schedules.events.layers_settle import stable_structure
from flowprune.schedules.events.looks import Look, Reading
from flowprune.schedules.events.mask_settles import early_bird
from flowprune.schedules.events.names import EVENTS, build_event
from flowprune.schedules.events.weights_settle import early_crop
from flowprune.schedules.names import SCHEDULES, build
from flowprune.schedules.schedule import Schedule, require_schedule
from flowprune.schedules.shapes import cubic, exponential, linear, manual, one_shot, rounds, rounds_truncated

__all__ = [
    "EVENTS",
    "MAX_STAGES",
    "SCHEDULES",
    "Adapt",
    "Event",
    "Look",
    "Reading",
    "Schedule",
    "adaptive",
    "after",
    "all_of",
    "any_of",
    "at_latest",
    "build",
    "build_event",
    "counts",
    "cubic",
    "early_bird",
    "early_crop",
    "exponential",
    "linear",
    "lr",
    "manual",
    "one_shot",
    "require_schedule",
    "rounds",
    "rounds_truncated",
    "stable_structure",
]
