"""Final test accuracy of each network, dense and at each sparsity, and whether it trains at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from flowprune.report.reproduction.cutting import CLASSES
from flowprune.report.shapes.runs import Config, by_config
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, finite, kind, number, numbers, text
from flowprune.report.wording import field_words, ordered

HALF_WAY = 0.5
"""A network trains where its mean accuracy is at least so far from chance to 1."""
Setting = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Method:
    """How one network fares under one method: a mean at each sparsity that it was pruned to, ascending.

    Example:
        >>> pruned = Method(Config(1, "snip"), (0.5, 0.9), (Spread(0.9, None, 1), Spread(0.1, None, 1)))
        >>> pruned.at(0.9).mean, pruned.at(0.95) is None, pruned.reach(0.55)
        (0.1, True, 0.5)
    """

    config: Config
    sparsities: tuple[float, ...]
    values: tuple[Spread, ...]

    def at(self, sparsity: float) -> Spread | None:
        """The accuracy at a sparsity, or None where there is none."""
        return dict(zip(self.sparsities, self.values, strict=True)).get(sparsity)

    def reach(self, least: float) -> float | None:
        """The largest sparsity up to which every mean is at least so high; None where the first is not."""
        reached = None
        for sparsity, value in zip(self.sparsities, self.values, strict=True):
            if value.mean < least:
                break
            reached = sparsity
        return reached


@dataclass(frozen=True)
class Network:
    """One network: the fields in which it and its training differ from others, its dense runs, and each method."""

    setting: Setting
    dense: Spread | None
    methods: tuple[Method, ...]

    @property
    def words(self) -> str:
        """What tells it from others; empty where there are none.

        Example:
            >>> Network((("model.options.activation", "tanh"), ("model.options.initial", "2.0")), None, ()).words
            'tanh, σ_w = 2'
        """
        fields = (field_words(path, value, f"{path.rpartition('.')[2]}={value}") for path, value in self.setting)
        return ", ".join(words for words in fields if words)


@dataclass(frozen=True)
class Sparsities:
    """All networks; ``chance`` is the accuracy of a blind guess, None where the number of classes is not known."""

    networks: tuple[Network, ...]
    chance: float | None
    notes: tuple[str, ...]

    @property
    def sparsities(self) -> tuple[float, ...]:
        """Each that occurs, ascending."""
        return tuple(sorted({s for each in self.networks for method in each.methods for s in method.sparsities}))

    @property
    def least(self) -> float | None:
        """The mean accuracy from which on a network trains: half-way from chance to 1.

        Example:
            >>> Sparsities((), 0.1, ()).least
            0.55
        """
        return None if self.chance is None else self.chance + HALF_WAY * (1 - self.chance)

    @property
    def configs(self) -> tuple[Config, ...]:
        """The methods of all networks, each once, those of one measure together."""
        found = {method.config for each in self.networks for method in each.methods}
        order = ordered(config.measure for config in found)
        return tuple(sorted(found, key=lambda each: (order.index(each.measure), each.setting, each.rounds)))

    @property
    def values(self) -> tuple[Spread, ...]:
        """All that is drawn."""
        dense = [each.dense for each in self.networks if each.dense is not None]
        return (*dense, *(value for each in self.networks for method in each.methods for value in method.values))


def sparsities(rows: Sequence[Row]) -> Sparsities | None:
    """Final accuracies of runs that were pruned to two sparsities or more, with their dense runs; else None.

    Example:
        >>> row = {"kind": "result", "dataset": "digits", "measure": "snip", "rounds": 1}
        >>> found = sparsities([{**row, "sparsity": s, "test_accuracy_final": a} for s, a in ((0.9, 0.5), (0.5, 0.8))])
        >>> found.networks[0].methods[0].sparsities, found.chance
        ((0.5, 0.9), 0.1)
    """
    kept, notes = finite(kind(rows, "result"), "test_accuracy_final")
    groups = list(by_config(kept).items())
    names = sorted({config.training for config, _ in groups}, key=_usual_first)
    networks = [_network(name, [group for group in groups if group[0].training == name]) for name in names]
    found = Sparsities(tuple(networks), _chance(kept), notes)
    return found if len(found.sparsities) > 1 else None


def _usual_first(setting: Setting) -> tuple[tuple[str, bool, str], ...]:
    return tuple((path, value not in ("default", "edge_of_chaos"), value) for path, value in setting)


def _network(setting: Setting, groups: Sequence[tuple[Config, Sequence[Row]]]) -> Network:
    dense = [row for config, own in groups if config.dense for row in own]
    methods: dict[Config, list[Row]] = {}
    for config, own in groups:
        if not config.dense:
            methods.setdefault(_method(config), []).extend(own)
    return Network(
        setting,
        spread(numbers(dense, "test_accuracy_final")) if dense else None,
        tuple(
            _line(config, methods[config]) for config in sorted(methods, key=lambda each: (each.rounds, each.setting))
        ),
    )


def _method(config: Config) -> Config:
    """Without the fields of its network, and without those that say nothing: a sparsity of many kinds has more."""
    own = (field for field in config.setting if field not in config.training and field_words(*field, "told"))
    return replace(config, setting=tuple(own))


def _line(config: Config, rows: Iterable[Row]) -> Method:
    at: dict[float, list[float]] = {}
    for row in rows:
        at.setdefault(round(number(row, "sparsity") or 0.0, 9), []).extend(numbers([row], "test_accuracy_final"))
    return Method(config, tuple(sorted(at)), tuple(spread(at[sparsity]) for sparsity in sorted(at)))


def _chance(rows: Iterable[Row]) -> float | None:
    classes = {CLASSES.get(text(row, "dataset")) for row in rows}
    count = classes.pop() if len(classes) == 1 else None
    return None if count is None else 1 / count
