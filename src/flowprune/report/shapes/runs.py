"""Which measure, rounds and seed a row belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from flowprune.report.studies import DENSE
from flowprune.report.values import Row, text, whole
from flowprune.report.wording import cut_in, ordered, plain

K = TypeVar("K")


@dataclass(frozen=True, order=True)
class Config:
    """A measure at a number of rounds; dense runs have 0 rounds."""

    rounds: int
    measure: str

    @property
    def dense(self) -> bool:
        """Whether nothing was pruned."""
        return self.measure == DENSE

    def __str__(self) -> str:
        return DENSE if self.dense else f"{plain(self.measure)} ({cut_in(self.rounds)})"


def config(row: Row) -> Config:
    """The configuration a row belongs to.

    Example:
        >>> str(config({"measure": "biased_loss", "rounds": 5}))
        'biased loss (5 rounds)'
    """
    measure = text(row, "measure", DENSE)
    return Config(0 if measure == DENSE else whole(row, "rounds", 1), measure)


def grouped(rows: Iterable[Row], key: Callable[[Row], K]) -> dict[K, list[Row]]:
    """Rows by key, keys in order of first appearance.

    Example:
        >>> grouped([{"a": 1}, {"a": 2}, {"a": 1}], lambda row: row["a"])
        {1: [{'a': 1}, {'a': 1}], 2: [{'a': 2}]}
    """
    groups: dict[K, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def by_config(rows: Sequence[Row]) -> dict[Config, list[Row]]:
    """Rows by configuration: dense first, then by rounds and the order of the theory."""
    groups = grouped(rows, config)
    order = ordered(c.measure for c in groups)
    return {c: groups[c] for c in sorted(groups, key=lambda c: (c.rounds, order.index(c.measure)))}


def all_rounds(configs: Iterable[Config]) -> tuple[int, ...]:
    """The numbers of rounds among pruned configurations, ascending.

    Example:
        >>> all_rounds([Config(5, "magnitude"), Config(0, "dense"), Config(1, "magnitude")])
        (1, 5)
    """
    return tuple(sorted({c.rounds for c in configs if not c.dense}))
