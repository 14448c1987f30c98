"""A value along training: its mean and spread over runs at each epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flowprune.report.shapes.runs import Config, by_config, config, grouped
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, kind, number, numbers, whole


@dataclass(frozen=True)
class Series:
    """A value at each of some epochs, in order; never empty."""

    epochs: tuple[int, ...]
    values: tuple[Spread, ...]

    @property
    def last(self) -> Spread:
        """The value at the last epoch."""
        return self.values[-1]

    def at(self, epoch: int) -> Spread | None:
        """The value at an epoch, or None where there is none.

        Example:
            >>> Series((1, 5), (Spread(0.1, None, 1), Spread(0.2, None, 1))).at(5).mean
            0.2
        """
        return dict(zip(self.epochs, self.values, strict=True)).get(epoch)


@dataclass(frozen=True)
class Curve:
    """A value of one configuration at each epoch."""

    config: Config
    epochs: tuple[int, ...]
    values: tuple[Spread, ...]

    @property
    def last(self) -> Spread:
        """The value at the last epoch."""
        return self.values[-1]


def series(rows: Iterable[Row], key: str) -> Series | None:
    """The finite values under ``key`` by epoch, or None where there is none.

    Example:
        >>> rows = [{"epoch": 2, "loss": 3.0}, {"epoch": 1, "loss": 4.0}, {"epoch": 2, "loss": 5.0}]
        >>> found = series(rows, "loss")
        >>> found.epochs, [value.mean for value in found.values]
        ((1, 2), [4.0, 4.0])
    """
    at = grouped(rows, lambda row: whole(row, "epoch"))
    values = {epoch: found for epoch, own in sorted(at.items()) if (found := numbers(own, key))}
    return Series(tuple(values), tuple(spread(found) for found in values.values())) if values else None


def curves(rows: Sequence[Row], key: str) -> tuple[Curve, ...]:
    """The series of each configuration that has one: dense first, then by rounds and the order of the theory."""
    found = {name: series(own, key) for name, own in by_config(rows).items()}
    return tuple(Curve(name, own.epochs, own.values) for name, own in found.items() if own is not None)


def cut_epochs(rows: Sequence[Row]) -> dict[int, tuple[int, ...]]:
    """After which epochs there was a cut, by the number of rounds.

    Example:
        >>> cut_epochs([{"kind": "cut", "measure": "fisher", "rounds": 2, "epoch": e} for e in (1, 2, 2)])
        {2: (1, 2)}
    """
    found = grouped(kind(rows, "cut"), lambda row: config(row).rounds)
    return {
        rounds: tuple(sorted({whole(row, "epoch") for row in own if number(row, "epoch") is not None}))
        for rounds, own in found.items()
    }


def rate_drops(rows: Sequence[Row]) -> tuple[int, ...]:
    """The epochs after which the learning rate was lower than before, as the epoch rows tell it.

    Example:
        >>> rates = {1: 0.1, 2: 0.1, 3: 0.01}
        >>> rate_drops([{"kind": "epoch", "run": "a", "epoch": e, "learning_rate": r} for e, r in rates.items()])
        (2,)
    """
    drops: set[int] = set()
    for own in grouped(kind(rows, "epoch"), lambda row: row.get("run")).values():
        rates = sorted((whole(row, "epoch"), rate) for row in own if (rate := number(row, "learning_rate")) is not None)
        drops |= {epoch for (epoch, rate), (_, after) in itertools.pairwise(rates) if after < rate}
    return tuple(sorted(drops))
