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
    from flowprune import (
        analysis,
        artefacts,
        data,
        experiments,
        measures,
        models,
        objectives,
        plan,
        report,
        schedules,
        structure,
        train,
    )
    from flowprune.analysis import flow, measured_change, predicted_change
    from flowprune.artefacts import (
        Artefact,
        compile,  # noqa: A004, the word for it
        export_onnx,
        export_program,
        verify_onnx,
        verify_program,
    )
    from flowprune.core.errors import PruningError, UnknownNameError
    from flowprune.core.granularities import GRANULARITIES
    from flowprune.core.index import Index
    from flowprune.core.source import Source
    from flowprune.core.step import Step
    from flowprune.data import DATASETS
    from flowprune.experiments import PRESETS
    from flowprune.masks import (
        DENSITIES,
        NM,
        Blocks,
        Compensation,
        Masks,
        Scores,
        Weights,
        apply,
        check_zeros,
        compensate,
        is_n_m,
        release,
        rescale,
        select,
    )
    from flowprune.measures import MEASURES, Measure, Tracked, score
    from flowprune.models import MODELS
    from flowprune.plan import Plan, carry, carry_state, load, replay, save
    from flowprune.prune import (
        RECIPES,
        Budget,
        Cut,
        Pruner,
        PruneResult,
        Recipe,
        RoundedWidths,
        Solution,
        Tickets,
        imp,
        prune,
        redrawn,
        round_widths,
        solve,
    )
    from flowprune.signals import Curvature, Signals, gather
    from flowprune.structure import Channels, CostReport, Depth, Heads, cost_report, remove, trace
    from flowprune.train import recalibrate

# Public name -> the module it is an attribute of.
_HOMES = {
    "flow": "analysis",
    "measured_change": "analysis",
    "predicted_change": "analysis",
    "Artefact": "artefacts",
    "compile": "artefacts",
    "export_onnx": "artefacts",
    "export_program": "artefacts",
    "verify_onnx": "artefacts",
    "verify_program": "artefacts",
    "PruningError": "core.errors",
    "UnknownNameError": "core.errors",
    "GRANULARITIES": "core.granularities",
    "Index": "core.index",
    "Source": "core.source",
    "Step": "core.step",
    "DATASETS": "data",
    "PRESETS": "experiments",
    "Blocks": "masks",
    "Masks": "masks",
    "NM": "masks",
    "DENSITIES": "masks",
    "Scores": "masks",
    "Weights": "masks",
    "apply": "masks",
    "rescale": "masks",
    "check_zeros": "masks",
    "Compensation": "masks",
    "compensate": "masks",
    "is_n_m": "masks",
    "release": "masks",
    "select": "masks",
    "MEASURES": "measures",
    "Measure": "measures",
    "Tracked": "measures",
    "score": "measures",
    "MODELS": "models",
    "Plan": "plan",
    "carry": "plan",
    "carry_state": "plan",
    "load": "plan",
    "replay": "plan",
    "save": "plan",
    "Budget": "prune",
    "Cut": "prune",
    "PruneResult": "prune",
    "Pruner": "prune",
    "RECIPES": "prune",
    "Recipe": "prune",
    "RoundedWidths": "prune",
    "Solution": "prune",
    "Tickets": "prune",
    "imp": "prune",
    "prune": "prune",
    "redrawn": "prune",
    "round_widths": "prune",
    "solve": "prune",
    "Curvature": "signals",
    "Signals": "signals",
    "gather": "signals",
    "Channels": "structure",
    "CostReport": "structure",
    "Depth": "structure",
    "Heads": "structure",
    "cost_report": "structure",
    "remove": "structure",
    "trace": "structure",
    "recalibrate": "train",
}
_PACKAGES = (
    "analysis",
    "artefacts",
    "data",
    "experiments",
    "measures",
    "models",
    "objectives",
    "plan",
    "report",
    "schedules",
    "structure",
    "train",
)

__all__ = [
    "DATASETS",
    "DENSITIES",
    "GRANULARITIES",
    "MEASURES",
    "MODELS",
    "NM",
    "PRESETS",
    "RECIPES",
    "Artefact",
    "Blocks",
    "Budget",
    "Channels",
    "Compensation",
    "CostReport",
    "Curvature",
    "Cut",
    "Depth",
    "Heads",
    "Index",
    "Masks",
    "Measure",
    "Plan",
    "PruneResult",
    "Pruner",
    "PruningError",
    "Recipe",
    "RoundedWidths",
    "Scores",
    "Signals",
    "Solution",
    "Source",
    "Step",
    "Tickets",
    "Tracked",
    "UnknownNameError",
    "Weights",
    "__version__",
    "analysis",
    "apply",
    "artefacts",
    "carry",
    "carry_state",
    "check_zeros",
    "compensate",
    "compile",
    "cost_report",
    "data",
    "experiments",
    "export_onnx",
    "export_program",
    "flow",
    "gather",
    "imp",
    "is_n_m",
    "load",
    "measured_change",
    "measures",
    "models",
    "objectives",
    "plan",
    "predicted_change",
    "prune",
    "recalibrate",
    "redrawn",
    "release",
    "remove",
    "replay",
    "report",
    "rescale",
    "round_widths",
    "save",
    "schedules",
    "score",
    "select",
    "solve",
    "structure",
    "trace",
    "train",
    "verify_onnx",
    "verify_program",
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
