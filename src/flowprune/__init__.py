"""flowprune: prune neural networks early in training, and see why it works.

Every importance measure is a derivative of the parameter norm under gradient flow. Importing the package loads
nothing heavy; names are imported when they are first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from flowprune.core.version import __version__

if TYPE_CHECKING:
    from flowprune import analysis, data, experiments, measures, models, objectives, report, schedules, structure, train
    from flowprune.analysis import flow, measured_change, predicted_change
    from flowprune.core.errors import PruningError, UnknownNameError
    from flowprune.core.index import Index
    from flowprune.core.source import Source
    from flowprune.core.step import Step
    from flowprune.data import DATASETS
    from flowprune.experiments import PRESETS
    from flowprune.masks import Masks, Scores, Weights, apply, check_zeros, release, select
    from flowprune.measures import MEASURES, Measure, Tracked, score
    from flowprune.models import MODELS
    from flowprune.prune import Cut, Pruner, PruneResult, prune
    from flowprune.signals import Signals, gather
    from flowprune.structure import Channels, Depth, remove, trace

# Public name -> the module it is an attribute of.
_HOMES = {
    "flow": "analysis",
    "measured_change": "analysis",
    "predicted_change": "analysis",
    "PruningError": "core.errors",
    "UnknownNameError": "core.errors",
    "Index": "core.index",
    "Source": "core.source",
    "Step": "core.step",
    "DATASETS": "data",
    "PRESETS": "experiments",
    "Masks": "masks",
    "Scores": "masks",
    "Weights": "masks",
    "apply": "masks",
    "check_zeros": "masks",
    "release": "masks",
    "select": "masks",
    "MEASURES": "measures",
    "Measure": "measures",
    "Tracked": "measures",
    "score": "measures",
    "MODELS": "models",
    "Cut": "prune",
    "PruneResult": "prune",
    "Pruner": "prune",
    "prune": "prune",
    "Signals": "signals",
    "gather": "signals",
    "Channels": "structure",
    "Depth": "structure",
    "remove": "structure",
    "trace": "structure",
}
_PACKAGES = (
    "analysis",
    "data",
    "experiments",
    "measures",
    "models",
    "objectives",
    "report",
    "schedules",
    "structure",
    "train",
)

__all__ = [
    "DATASETS",
    "MEASURES",
    "MODELS",
    "PRESETS",
    "Channels",
    "Cut",
    "Depth",
    "Index",
    "Masks",
    "Measure",
    "PruneResult",
    "Pruner",
    "PruningError",
    "Scores",
    "Signals",
    "Source",
    "Step",
    "Tracked",
    "UnknownNameError",
    "Weights",
    "__version__",
    "analysis",
    "apply",
    "check_zeros",
    "data",
    "experiments",
    "flow",
    "gather",
    "measured_change",
    "measures",
    "models",
    "objectives",
    "predicted_change",
    "prune",
    "release",
    "remove",
    "report",
    "schedules",
    "score",
    "select",
    "structure",
    "trace",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"flowprune.{_HOMES[name]}"), name)
    elif name in _PACKAGES:
        value = import_module(f"flowprune.{name}")
    else:
        raise AttributeError(f"module 'flowprune' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Root(ModuleType):
    """The package itself, in which ``prune`` is the function.

    Importing the sub-package of that name would set the attribute to the module, whichever comes first.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "prune" and isinstance(value, ModuleType):
            value = value.prune
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Root
