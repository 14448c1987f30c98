"""Accuracy by epoch: mean and spread over seeds of each configuration, and where the cuts fell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowprune.report.shapes.curves import Curve, curves, cut_epochs
from flowprune.report.shapes.runs import all_rounds
from flowprune.report.values import Row, finite, kind, recorded


@dataclass(frozen=True)
class Accuracy:
    """All curves (shares of one); ``cuts`` maps a number of rounds to the epochs after which there was a cut."""

    split: str
    curves: tuple[Curve, ...]
    cuts: dict[int, tuple[int, ...]]
    notes: tuple[str, ...]

    @property
    def rounds(self) -> tuple[int, ...]:
        """The panels: numbers of rounds, or ``(0,)`` where every run is dense."""
        return all_rounds(curve.config for curve in self.curves) or (0,)

    def panel(self, rounds: int) -> tuple[Curve, ...]:
        """The dense curve and those pruned in so many rounds."""
        return tuple(curve for curve in self.curves if curve.config.dense or curve.config.rounds == rounds)


def accuracy(rows: Sequence[Row]) -> Accuracy | None:
    """Curves of test accuracy (of validation accuracy where no test accuracy was recorded), or None.

    Example:
        >>> rows = [{"kind": "epoch", "measure": "dense", "epoch": 1, "seed": s, "test_accuracy": a}
        ...         for s, a in ((0, 0.5), (1, 0.7))]
        >>> round(accuracy(rows).curves[0].last.mean, 3)
        0.6
    """
    epochs = kind(rows, "epoch")
    split = next((s for s in ("test", "valid") if recorded(epochs, f"{s}_accuracy")), None)
    if split is None:
        return None
    kept, notes = finite(epochs, f"{split}_accuracy", "epoch")
    found = curves(kept, f"{split}_accuracy")
    if not found:
        return None
    return Accuracy("test" if split == "test" else "validation", found, cut_epochs(rows), notes)
