"""Which measure, rounds and seed a row belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from flowprune.report.comparisons import DENSE
from flowprune.report.values import Row, setting, text, whole
from flowprune.report.wording import cut_in, field_words, ordered, plain

TEMPERATURE = "prune.temperature"
K = TypeVar("K")


@dataclass(frozen=True, order=True)
class Config:
    """A measure at a number of rounds, and the other fields in which runs differ; dense runs have 0 rounds.

    Runs of one configuration differ in their seed alone, so a spread over them is a spread over seeds.
    """

    rounds: int
    measure: str
    setting: tuple[tuple[str, str], ...] = ()

    @property
    def dense(self) -> bool:
        """Whether nothing was pruned."""
        return self.measure == DENSE

    @property
    def words(self) -> str:
        """The other fields, each with its value; empty where runs differ in none.

        Example:
            >>> Config(1, "fisher", (("prune.temperature", "200.0"), ("train.batch", "32"))).words
            'scored at T = 200, train.batch=32'
        """
        return setting_words(self.setting)

    @property
    def name(self) -> str:
        """The measure, and the other fields by the last part of their names.

        Example:
            >>> Config(1, "biased_loss", (("train.batch", "32"),)).name
            'biased loss, batch=32'
            >>> Config(1, "fisher", (("prune.temperature", "1.0"),)).name
            'fisher, T=1'
            >>> Config(1, "snip", (("prune.ablations", '["shuffle"]'), ("prune.score_on", "own_weights"))).name
            'SNIP, shuffled'
        """
        fields = (
            field_words(path, value, f"{_short(path)}={value.removesuffix('.0')}") for path, value in self.setting
        )
        return ", ".join((plain(self.measure), *(words for words in fields if words)))

    @property
    def training(self) -> tuple[tuple[str, str], ...]:
        """The fields that a dense run has too and that change its numbers: where they agree, runs may be compared."""
        apart = ("prune.", "record.", "name", "threads")
        return tuple(field for field in self.setting if not field[0].startswith(apart))

    @property
    def adaptive(self) -> bool:
        """Whether stages were sized as one went, so that the rounds are the most that there might be.

        Example:
            >>> str(Config(140, "lm", (("prune.schedule", "adaptive"), ("prune.schedule_options.tolerance", "0.3"))))
            'LM, adaptive, tolerance = 0.3 (at most 140 rounds)'
        """
        return ("prune.schedule", "adaptive") in self.setting

    @property
    def cuts(self) -> str:
        """How many rounds, in words."""
        return f"at most {cut_in(self.rounds)}" if self.adaptive else cut_in(self.rounds)

    def __str__(self) -> str:
        return self.name if self.dense else f"{self.name} ({self.cuts})"


def setting_words(fields: Iterable[tuple[str, str]]) -> str:
    """Fields with their values, as a reader of tables wants them."""
    found = (
        f"scored at T = {value.removesuffix('.0')}"
        if path == TEMPERATURE
        else field_words(path, value, f"{path}={value}")
        for path, value in fields
    )
    return ", ".join(words for words in found if words)


def _short(path: str) -> str:
    last = path.rpartition(".")[2]
    return "T" if last == "temperature" else last


def config(row: Row) -> Config:
    """The configuration a row belongs to.

    Example:
        >>> str(config({"measure": "biased_loss", "rounds": 5}))
        'biased loss (5 rounds)'
    """
    stored = row.get("setting")
    return _config(text(row, "measure", DENSE), whole(row, "rounds", 1), stored if isinstance(stored, str) else None)


@lru_cache(maxsize=4096)
def _config(measure: str, rounds: int, stored: str | None) -> Config:
    """Many rows are of one configuration, and reading its setting takes time."""
    return Config(0 if measure == DENSE else rounds, measure, setting({"setting": stored}))


C = TypeVar("C")


def reference(pruned: Config, dense: Mapping[Config, C]) -> C | None:
    """What belongs to the dense runs that were trained as the pruned ones were, or None where there are none.

    Example:
        >>> reference(Config(1, "fisher"), {Config(0, "dense"): "it"})
        'it'
    """
    return next((value for each, value in dense.items() if each.training == pruned.training), None)


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
    return {c: groups[c] for c in sorted(groups, key=lambda c: (c.rounds, order.index(c.measure), c.setting))}


def all_rounds(configs: Iterable[Config]) -> tuple[int, ...]:
    """The numbers of rounds among pruned configurations, ascending.

    Example:
        >>> all_rounds([Config(5, "magnitude"), Config(0, "dense"), Config(1, "magnitude")])
        (1, 5)
    """
    return tuple(sorted({c.rounds for c in configs if not c.dense}))
