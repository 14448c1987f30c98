"""How fast networks train after their last cut: accuracy by epoch under the three measures of the main claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flowprune.report.reproduction.case import Case
from flowprune.report.reproduction.outcomes import paired, speed
from flowprune.report.reproduction.reading import LOSS, MAGNITUDE, Cell
from flowprune.report.shapes.curves import Curve, curves, cut_epochs
from flowprune.report.shapes.runs import Config, by_config, config, grouped
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, finite, kind, number, recorded, whole

MEASURES = ("magnitude", "loss_preservation", "biased_loss")
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Pace:
    """The mean accuracy of one configuration over the epochs after the last cut, with its spread over runs."""

    config: Config
    value: Spread


@dataclass(frozen=True)
class Split:
    """The curves of train or of test accuracy (shares of one), and the mean of each over ``epochs``.

    ``epochs`` are those after the last cut of any run at which every run has a value: means over them compare.
    """

    name: str
    curves: tuple[Curve, ...]
    paces: tuple[Pace, ...]
    epochs: tuple[int, ...]


@dataclass(frozen=True)
class Convergence:
    """Both splits at one number of rounds.

    Attributes:
        cuts: After which epochs there was a cut; empty where unknown.
        pairs: For each split, magnitude less loss preservation, seed by seed, at every number of rounds.
    """

    rounds: int
    splits: tuple[Split, ...]
    cuts: tuple[int, ...]
    pairs: dict[str, list[tuple[Cell, Case]]]
    notes: tuple[str, ...]


def convergence(rows: Sequence[Row]) -> Convergence | None:
    """Runs of :data:`MEASURES` cut in the largest number of rounds, and dense ones, or None where none was pruned.

    Example:
        >>> rows = [{"kind": "epoch", "run": m, "measure": m, "rounds": 1, "epoch": e, "train_accuracy": e / 10}
        ...         for m in ("magnitude", "biased_loss") for e in (1, 2, 3)]
        >>> found = convergence([*rows, {"kind": "cut", "measure": "magnitude", "rounds": 1, "epoch": 1}])
        >>> found.splits[0].epochs, round(found.splits[0].paces[0].value.mean, 3)
        ((2, 3), 0.25)
    """
    groups = by_config(kind(rows, "epoch"))
    rounds = max((each.rounds for each in groups if each.measure in MEASURES), default=0)
    named = [each for each in groups if each.dense or (each.measure in MEASURES and each.rounds == rounds)]
    shown = [row for each in named for row in groups[each]]
    cuts = cut_epochs([row for row in rows if config(row).measure in MEASURES]).get(rounds, ())
    splits: list[Split] = []
    notes: list[str] = []
    for name in SPLITS:
        if rounds and recorded(shown, f"{name}_accuracy"):
            kept, lost = finite(shown, f"{name}_accuracy", "epoch")
            splits += _split(name, kept, after=max(cuts, default=0))
            notes += [note for note in lost if note not in notes]
    pairs = {split.name: paired(rows, (MAGNITUDE, LOSS), speed(f"{split.name}_accuracy")) for split in splits}
    return Convergence(rounds, tuple(splits), cuts, pairs, tuple(notes)) if splits else None


def _split(name: str, rows: Sequence[Row], *, after: int) -> list[Split]:
    key = f"{name}_accuracy"
    found = curves(rows, key)
    if all(curve.config.dense for curve in found):
        return []
    epochs = _shared(rows, after)
    paces = tuple(Pace(each, spread(_means(own, key, epochs))) for each, own in by_config(rows).items() if epochs)
    return [Split(name, found, paces, epochs)]


def _shared(rows: Iterable[Row], after: int) -> tuple[int, ...]:
    """The epochs later than ``after`` that every run has."""
    runs = grouped(rows, lambda row: row.get("run"))
    sets = [{epoch for row in own if (epoch := whole(row, "epoch")) > after} for own in runs.values()]
    return tuple(sorted(set.intersection(*sets))) if sets else ()


def _means(rows: Iterable[Row], key: str, epochs: Sequence[int]) -> list[float]:
    runs = grouped([row for row in rows if whole(row, "epoch") in epochs], lambda row: row.get("run"))
    return [sum(number(row, key) or 0.0 for row in own) / len(own) for own in runs.values()]
