"""When the masks that a measure would draw stand still, beside when the learning rate falls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flowprune.report.reproduction.case import case
from flowprune.report.reproduction.claim import Cases, FromRows, found
from flowprune.report.reproduction.correlations import drops
from flowprune.report.reproduction.reading import among, dense
from flowprune.report.values import Row, number, whole
from flowprune.report.wording import plain

STILL = 0.05
"""Near zero: one unit in twenty is on the other side. As in the figure."""
TO = {"previous": "the one before", "final": "the final one"}
"""The paper does not say from which mask its distances are."""


def settles(of: str) -> FromRows:
    """The mask distance at the last record before the learning rate falls, less that at the first record after."""
    return _distances(of, lambda before, after: before - after)


def stands(of: str) -> FromRows:
    """How far the mask distance at the first record after the learning rate fell is below :data:`STILL`."""
    return _distances(of, lambda _, after: STILL - after)


def _distances(of: str, statistic: Callable[[float, float], float]) -> FromRows:
    def compute(rows: Sequence[Row]) -> Cases:
        fallen = drops(rows)
        return found(
            case(
                f"{where}, {plain(of)}, to {words}",
                {s: statistic(*ends) for s, own in seeds.items() if (ends := _around(own, of, to, fallen[where]))},
                within=(-1.0, 1.0),
            )
            for where, seeds in dense(rows, "mask_distance").items()
            if where in fallen
            for to, words in TO.items()
        )

    return compute


def _around(rows: Sequence[Row], of: str, to: str, drop: int) -> tuple[float, float] | None:
    """The distances at the last record up to the fall, and at the first one after."""
    at: Mapping[int, float] = {
        whole(row, "epoch"): distance
        for row in among(rows, of=of, to=to)
        if (distance := number(row, "distance")) is not None
    }
    before, after = [e for e in at if e <= drop], [e for e in at if e > drop]
    return (at[max(before)], at[min(after)]) if before and after else None
