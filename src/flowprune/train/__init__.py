"""A short training loop, callbacks composed by when they run, and the records of a run."""

from __future__ import annotations

from flowprune.train.callbacks import Callback, at, chain, every
from flowprune.train.evaluation import Evaluation, evaluate, evaluate_batches
from flowprune.train.execution import Execution
from flowprune.train.loop import fit
from flowprune.train.recalibration import recalibrate
from flowprune.train.records import EpochRecord, Recorder, RunRecord, best_test, select
from flowprune.train.state import State

__all__ = [
    "Callback",
    "EpochRecord",
    "Evaluation",
    "Execution",
    "Recorder",
    "RunRecord",
    "State",
    "at",
    "best_test",
    "chain",
    "evaluate",
    "evaluate_batches",
    "every",
    "fit",
    "recalibrate",
    "select",
]
