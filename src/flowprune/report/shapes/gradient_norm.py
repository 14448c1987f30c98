"""Increasing the gradient norm, at the temperatures it was scored at, against preserving it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowprune.report.reproduction.case import Case
from flowprune.report.reproduction.outcomes import final, paired
from flowprune.report.reproduction.reading import Cell, method
from flowprune.report.shapes.curves import Curve, curves, cut_epochs
from flowprune.report.shapes.runs import TEMPERATURE, Config, by_config
from flowprune.report.values import Row, finite, kind, number, recorded

INCREASE, PRESERVATION = "gradient_norm_increase", "gradient_norm_preservation"
MEASURES = (INCREASE, PRESERVATION)


@dataclass(frozen=True)
class Variant:
    """A measure and the temperature that it was scored at; None where no row tells it."""

    config: Config
    temperature: float | None

    @property
    def name(self) -> str:
        """What it does to the gradient norm, and its temperature.

        Example:
            >>> Variant(Config(1, INCREASE, ()), 200.0).name
            'increase, T = 200'
        """
        what = "dense" if self.config.dense else "increase" if self.config.measure == INCREASE else "preservation"
        others = ", ".join(f"{path.rpartition('.')[2]}={v}" for path, v in self.config.setting if path != TEMPERATURE)
        at = "" if self.temperature is None or self.config.dense else f"T = {self.temperature:g}"
        return ", ".join(part for part in (what, at, others) if part)


@dataclass(frozen=True)
class Track:
    """Train loss and test accuracy of one variant; either may be missing."""

    variant: Variant
    loss: Curve | None
    accuracy: Curve | None


@dataclass(frozen=True)
class GradientNorm:
    """The variants at one number of rounds, dense first.

    Attributes:
        cuts: After which epochs there was a cut.
        pairs: Against each increase, by name: preservation less it in final test accuracy, seed by seed, at every
            number of rounds.
    """

    rounds: int
    tracks: tuple[Track, ...]
    cuts: tuple[int, ...]
    pairs: dict[str, list[tuple[Cell, Case]]]
    notes: tuple[str, ...]


def gradient_norm(rows: Sequence[Row]) -> GradientNorm | None:
    """Runs of :data:`MEASURES` at the largest number of rounds, and dense ones, or None without any of the former.

    Example:
        >>> row = {"kind": "epoch", "rounds": 5, "epoch": 1, "test_accuracy": 0.5, "train_loss": 2.0}
        >>> warm = {**row, "measure": INCREASE, "setting": '{"prune.temperature": 1.0}'}
        >>> [track.variant.name for track in gradient_norm([warm, {**row, "measure": PRESERVATION}]).tracks]
        ['increase, T = 1', 'preservation']
    """
    groups = by_config(kind(rows, "epoch"))
    rounds = max((each.rounds for each in groups if each.measure in MEASURES), default=0)
    shown = {
        each: own for each, own in groups.items() if each.dense or (each.measure in MEASURES and each.rounds == rounds)
    }
    flat = [row for own in shown.values() for row in own]
    if not rounds:
        return None
    losses, lost = _curves(flat, "train_loss")
    accuracies, also = _curves(flat, "test_accuracy")
    tracks = tuple(
        Track(variant(each, own), losses.get(each), accuracies.get(each))
        for each, own in shown.items()
        if each in losses or each in accuracies
    )
    if all(track.variant.config.dense for track in tracks):
        return None
    own_cuts = [row for row in rows if row.get("measure") in MEASURES]
    own_epochs = cut_epochs(own_cuts).get(rounds, ())
    return GradientNorm(rounds, tracks, own_epochs, _pairs(rows), tuple(dict.fromkeys((*lost, *also))))


def _pairs(rows: Sequence[Row]) -> dict[str, list[tuple[Cell, Case]]]:
    raised = sorted({method(row) for row in rows if row.get("measure") == INCREASE}, key=lambda m: m.temperature or 0.0)
    kept = list({method(row) for row in rows if row.get("measure") == PRESERVATION})
    if len(kept) != 1:
        return {}
    found = {each.name: paired(rows, (kept[0], each), final) for each in raised}
    return {name: pairs for name, pairs in found.items() if pairs}


def _curves(rows: Sequence[Row], key: str) -> tuple[dict[Config, Curve], tuple[str, ...]]:
    if not recorded(rows, key):
        return {}, ()
    kept, notes = finite(rows, key, "epoch")
    return {curve.config: curve for curve in curves(kept, key)}, notes


def variant(config: Config, rows: Sequence[Row]) -> Variant:
    """A configuration with its scoring temperature, by its setting or by what its rows say.

    Example:
        >>> variant(Config(1, INCREASE), [{"scored_at": 200.0}]).temperature
        200.0
    """
    told = dict(config.setting).get(TEMPERATURE, "")
    if told.replace(".", "", 1).isdigit():
        return Variant(config, float(told))
    scored = {value for row in rows if (value := number(row, "scored_at")) is not None}
    return Variant(config, scored.pop() if len(scored) == 1 else None)
