"""θ·g against θ·Hg of every unit: one panel for each moment and temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowprune.core.interval import Interval, fisher_interval
from flowprune.report.shapes.depth import early
from flowprune.report.shapes.network import watched
from flowprune.report.shapes.runs import grouped
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, kind, number, numbers, several, text, whole, words

MOST = 240
"""Points of a panel: more would lie on each other, and make a heavy page."""


@dataclass(frozen=True)
class Point:
    """One unit: Σθ·g, Σθ·Hg, and whether its layer is among the first third."""

    first: float
    second: float
    early: bool


@dataclass(frozen=True)
class Moment:
    """One epoch at one temperature: points of one seed, correlations over all units with their spread over seeds.

    ``interval``: of Spearman's correlation, 95 % over seeds by Fisher's z.
    """

    epoch: int
    temperature: float
    points: tuple[Point, ...]
    units: int
    pearson: Spread | None
    spearman: Spread | None
    interval: Interval


@dataclass(frozen=True)
class Orders:
    """All moments, by temperature and epoch; ``seed``: whose points are shown; ``last``: the last epoch trained."""

    moments: tuple[Moment, ...]
    seed: str
    last: int | None
    notes: tuple[str, ...]

    @property
    def epochs(self) -> tuple[int, ...]:
        """The moments, as columns."""
        return tuple(sorted({moment.epoch for moment in self.moments}))

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures, as rows."""
        return tuple(sorted({moment.temperature for moment in self.moments}))


def orders(rows: Sequence[Row]) -> Orders | None:
    """The records of ``kind="scatter"``, or None where there are none to draw.

    Example:
        >>> row = {"kind": "scatter", "measure": "dense", "epoch": 0, "temperature": 1.0, "layers": ["a"],
        ...        "sizes": [3], "first": [1.0, 2.0, 3.0], "second": [2.0, 4.0, 6.0]}
        >>> found = orders([{**row, "seed": s, "run": s, "spearman": r} for s, r in ((0, 1.0), (1, 0.5))])
        >>> found.moments[0].spearman.mean, len(found.moments[0].points), found.seed
        (0.75, 3, '0')
    """
    found = watched(kind(rows, "scatter"))
    if found is None:
        return None
    usable = [row for row in found.rows if _readable(row)]
    notes = [*found.notes, *_lost(len(found.rows) - len(usable))]
    seed = min((text(row, "seed") for row in usable), key=lambda name: (len(name), name), default="")
    at = grouped(usable, lambda row: (number(row, "temperature") or 0.0, whole(row, "epoch")))
    moments = tuple(_moment(own, seed) for _, own in sorted(at.items()))
    shown = tuple(moment for moment in moments if moment.points)
    if not shown:
        return None
    last = max((whole(row, "epoch") for row in kind(rows, "epoch")), default=None)
    return Orders(shown, seed, last, (*notes, *_thinned(shown)))


def _readable(row: Row) -> bool:
    first, second, units = several(row, "first"), several(row, "second"), several(row, "sizes")
    return bool(first) and len(first) == len(second) == sum(units) and len(units) == len(words(row, "layers"))


def _lost(count: int) -> tuple[str, ...]:
    rows = "row was" if count == 1 else "rows were"
    return (f"{count} scatter {rows} left out: values are missing or not finite.",) if count else ()


def _thinned(moments: Sequence[Moment]) -> tuple[str, ...]:
    units = sorted({moment.units for moment in moments if len(moment.points) < moment.units})
    if not units:
        return ()
    return (f"Panels show {MOST} of {units[-1]} units, evenly spread over the layers; correlations are over all.",)


def _moment(rows: Sequence[Row], seed: str) -> Moment:
    own = [row for row in rows if text(row, "seed") == seed][:1]
    points = _points(own[0]) if own else []
    return Moment(
        epoch=whole(rows[0], "epoch"),
        temperature=number(rows[0], "temperature") or 0.0,
        points=tuple(_thin(points)),
        units=len(points),
        pearson=_spread(rows, "pearson"),
        spearman=_spread(rows, "spearman"),
        interval=fisher_interval(numbers(rows, "spearman")),
    )


def _points(row: Row) -> list[Point]:
    names = words(row, "layers")
    front = early(names)
    of_unit = [
        name in front for name, count in zip(names, several(row, "sizes"), strict=True) for _ in range(int(count))
    ]
    return [Point(*each) for each in zip(several(row, "first"), several(row, "second"), of_unit, strict=True)]


def _thin(points: Sequence[Point]) -> list[Point]:
    """Evenly spaced points, so that each layer keeps its share."""
    if len(points) <= MOST:
        return list(points)
    return [points[index * len(points) // MOST] for index in range(MOST)]


def _spread(rows: Sequence[Row], key: str) -> Spread | None:
    values = numbers(rows, key)
    return spread(values) if values else None
