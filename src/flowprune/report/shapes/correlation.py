"""How far two measures agree while the dense network trains, and when the masks that they would draw settle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowprune.report.shapes.curves import Series, rate_drops, series
from flowprune.report.shapes.network import watched
from flowprune.report.shapes.runs import Config, config, grouped
from flowprune.report.values import Row, finite, kind, number, numbers, recorded, text, whole
from flowprune.report.wording import ordered

STATISTICS = ("spearman", "pearson", "by_layer")
SETTLED = 0.05
"""A mask distance that counts as near zero: one unit in twenty is on the other side."""


@dataclass(frozen=True)
class Pair:
    """Two measures: correlations of their scores over all units, and the mean over layers of Spearman within each."""

    a: str
    b: str
    spearman: Series | None
    pearson: Series | None
    by_layer: Series | None


@dataclass(frozen=True)
class Distance:
    """How far the mask that a measure would draw is from its ``"previous"`` or ``"final"`` one, a share of units."""

    measure: str
    to: str
    series: Series


@dataclass(frozen=True)
class Correlation:
    """All pairs and distances of the dense runs; ``drops``: the epochs after which the learning rate fell."""

    pairs: tuple[Pair, ...]
    distances: tuple[Distance, ...]
    drops: tuple[int, ...]
    sparsity: float | None
    notes: tuple[str, ...]


def correlation(rows: Sequence[Row]) -> Correlation | None:
    """The records of ``kind="correlation"`` and ``kind="mask_distance"``, or None where there are neither.

    Example:
        >>> row = {"kind": "correlation", "run": "r", "measure": "dense", "a": "magnitude", "b": "obd", "epoch": 0}
        >>> rows = [{**row, "layer": "", "spearman": 0.5}, {**row, "layer": "x", "spearman": 0.1},
        ...         {**row, "layer": "y", "spearman": 0.3}]
        >>> pair = correlation(rows).pairs[0]
        >>> pair.spearman.last.mean, pair.by_layer.last.mean, pair.pearson
        (0.5, 0.2, None)
    """
    found = watched(kind(rows, "correlation"))
    masks = watched(kind(rows, "mask_distance"))
    pairs, lost = _pairs(found.rows) if found else ((), ())
    kept, also = finite(masks.rows, "distance", "epoch") if masks else ([], ())
    distances = _distances(kept)
    if not pairs and not distances:
        return None
    first = found or masks
    shown, notes = (first.config, first.notes) if first else (Config(0, "dense"), ())
    sparsities = set(numbers(kept, "at_sparsity"))
    drops = rate_drops([row for row in kind(rows, "epoch") if config(row) == shown])
    at = sparsities.pop() if len(sparsities) == 1 else None
    return Correlation(pairs, distances, drops, at, tuple(dict.fromkeys((*notes, *lost, *also))))


def _pairs(rows: Sequence[Row]) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Each pair, and notes on values that cannot be drawn; a layer without a value is no loss of the figure's."""
    overall = [row for row in rows if not text(row, "layer")]
    told = [key for key in ("spearman", "pearson") if recorded(overall, key)]
    notes = [note for key in told for note in finite(overall, key)[1]]
    names = ordered(text(row, side) for row in rows for side in ("a", "b"))
    groups = grouped(rows, lambda row: tuple(sorted((text(row, "a"), text(row, "b")), key=names.index)))
    found: list[Pair] = []
    for (a, b), own in sorted(groups.items(), key=lambda item: [names.index(name) for name in item[0]]):
        whole_net = [row for row in own if not text(row, "layer")]
        by_layer = series(_layer_means(own), "spearman")
        pair = Pair(a, b, series(whole_net, "spearman"), series(whole_net, "pearson"), by_layer)
        found += [pair] if pair.spearman or pair.pearson or pair.by_layer else []
    return tuple(found), tuple(notes)


def _layer_means(rows: Sequence[Row]) -> list[Row]:
    """For each run and epoch, the mean over the layers in which there is a correlation."""
    layers = [row for row in rows if text(row, "layer") and number(row, "spearman") is not None]
    means: list[Row] = []
    for (_, epoch), own in grouped(layers, lambda row: (text(row, "run"), whole(row, "epoch"))).items():
        values = numbers(own, "spearman")
        means.append({"epoch": epoch, "spearman": sum(values) / len(values)})
    return means


def _distances(rows: Sequence[Row]) -> tuple[Distance, ...]:
    names = ordered(text(row, "of") for row in rows)
    groups = grouped(rows, lambda row: (text(row, "of"), text(row, "to")))
    found = {key: series(own, "distance") for key, own in groups.items()}
    order = sorted(found, key=lambda key: (names.index(key[0]), key[1] != "previous", key[1]))
    return tuple(Distance(*key, each) for key in order if (each := found[key]) is not None)
