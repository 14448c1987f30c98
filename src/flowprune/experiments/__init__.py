"""A spec becomes a run, a run becomes rows, rows are read together. Importing this imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.lazy import lazy

if TYPE_CHECKING:
    from flowprune.experiments.axes import expand
    from flowprune.experiments.events import Event
    from flowprune.experiments.folder import RunFolder
    from flowprune.experiments.job import run
    from flowprune.experiments.presets import PRESETS
    from flowprune.experiments.pruned import load_pruned
    from flowprune.experiments.spec import Spec
    from flowprune.experiments.store import connect, read
    from flowprune.experiments.sweeping import Sweep, sweep

__all__ = ["PRESETS", "Event", "RunFolder", "Spec", "Sweep", "connect", "expand", "load_pruned", "read", "run", "sweep"]

_FILES = {
    "axes": ("expand",),
    "events": ("Event",),
    "folder": ("RunFolder",),
    "job": ("run",),
    "presets": ("PRESETS",),
    "pruned": ("load_pruned",),
    "spec": ("Spec",),
    "store": ("connect", "read"),
    "sweeping": ("Sweep", "sweep"),
}
__getattr__ = lazy(
    __name__, {name: f"flowprune.experiments.{file}:{name}" for file, names in _FILES.items() for name in names}
)
