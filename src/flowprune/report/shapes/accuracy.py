"""Accuracy by epoch: mean and spread over seeds of each configuration, and where the cuts fell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowprune.report.shapes.runs import Config, all_rounds, by_config, config, grouped
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, finite, kind, number, recorded, whole


@dataclass(frozen=True)
class Curve:
    """Accuracy (a share of one) of one configuration at each epoch."""

    config: Config
    epochs: tuple[int, ...]
    values: tuple[Spread, ...]

    @property
    def last(self) -> Spread:
        """Accuracy at the last epoch."""
        return self.values[-1]


@dataclass(frozen=True)
class Accuracy:
    """All curves; ``cuts`` maps a number of rounds to the epochs after which there was a cut."""

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
    key = f"{split}_accuracy"
    kept, notes = finite(epochs, key, "epoch")
    curves: list[Curve] = []
    for name, own in by_config(kept).items():
        at = grouped(own, lambda row: whole(row, "epoch"))
        steps = tuple(sorted(at))
        curves.append(Curve(name, steps, tuple(spread(number(r, key) or 0.0 for r in at[e]) for e in steps)))
    if not curves:
        return None
    return Accuracy("test" if split == "test" else "validation", tuple(curves), _cuts(rows), notes)


def _cuts(rows: Sequence[Row]) -> dict[int, tuple[int, ...]]:
    found = grouped(kind(rows, "cut"), lambda row: config(row).rounds)
    return {
        rounds: tuple(sorted({whole(row, "epoch") for row in own if number(row, "epoch") is not None}))
        for rounds, own in found.items()
    }
