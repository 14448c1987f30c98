"""What share of each layer's units is left after the last cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowprune.report.reproduction.case import Case
from flowprune.report.reproduction.profiles import beyond_others
from flowprune.report.reproduction.reading import Cell
from flowprune.report.shapes.depth import early, in_depth
from flowprune.report.shapes.paths import Path, Paths, layer_rows, paths
from flowprune.report.shapes.runs import Config, all_rounds, by_config, grouped
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, finite, number, text, whole
from flowprune.report.wording import ordered

Kind = tuple[str, tuple[tuple[str, str], ...]]
"""A measure and its setting: one panel."""


@dataclass(frozen=True)
class Layer:
    """One layer under one configuration: kept shares by run, and in how many runs the floor held units back."""

    name: str
    shares: tuple[float, ...]
    floor_hits: int

    @property
    def kept(self) -> Spread:
        """Mean and spread of the kept share over runs."""
        return spread(self.shares)


@dataclass(frozen=True)
class Ends:
    """The mean kept share over the layers of the first third, and over the others; each layer counts once."""

    early: Spread
    rest: Spread


@dataclass(frozen=True)
class Layers:
    """Layers in the order of the network, for each configuration.

    Attributes:
        ends: Empty below three layers.
        pairs: By name of each gradient-norm increase: by how much it cuts early layers more than every other measure,
            seed by seed, at every number of rounds.
        paths: What of a layer is on a path from input to output, where it is known.
    """

    names: tuple[str, ...]
    units: dict[str, int]
    configs: dict[Config, tuple[Layer, ...]]
    ends: dict[Config, Ends]
    pairs: dict[str, list[tuple[Cell, Case]]]
    paths: Paths
    notes: tuple[str, ...]

    @property
    def measures(self) -> tuple[str, ...]:
        """The pruning measures."""
        return ordered(name.measure for name in self.configs)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The panels: each measure in each setting."""
        found = {(config.measure, config.setting) for config in self.configs}
        return tuple(sorted(found, key=lambda each: (self.measures.index(each[0]), each[1])))

    @property
    def rounds(self) -> tuple[int, ...]:
        """The numbers of rounds."""
        return all_rounds(self.configs)

    def of(self, kind: Kind) -> tuple[Config, ...]:
        """The configurations of a panel, by rounds."""
        return tuple(sorted(config for config in self.configs if (config.measure, config.setting) == kind))

    def path(self, config: Config, layer: str) -> Path | None:
        """What of a layer is on a path under one configuration, or None where it is not known."""
        return self.paths.get(config, {}).get(layer)

    @property
    def shares(self) -> tuple[float, ...]:
        """All that is drawn: every share kept, and every share on a path."""
        kept = [share for own in self.configs.values() for layer in own for share in layer.shares]
        return (*kept, *(path.share.mean for own in self.paths.values() for path in own.values()))

    @property
    def dead(self) -> bool:
        """Whether any layer is known to have dead outputs."""
        return any(path.dead is not None and path.dead.mean for own in self.paths.values() for path in own.values())

    def overall(self, config: Config) -> float:
        """The mean share kept of all units together under one configuration."""
        own = self.configs[config]
        kept = sum(layer.kept.mean * self.units[layer.name] for layer in own)
        return kept / sum(self.units[layer.name] for layer in own)


def layers(rows: Sequence[Row]) -> Layers | None:
    """The last round's ``kind="layer"`` rows of each run, or None; of a run without any, what its diagnosis counts.

    A floor counts as hit in a run if it held in any of its rounds.

    Example:
        >>> row = {"kind": "layer", "run": "r", "measure": "magnitude", "rounds": 2, "layer": "conv", "units": 8}
        >>> found = layers([{**row, "round": 1, "kept": 6}, {**row, "round": 2, "kept": 2, "floor_hit": True}])
        >>> next(iter(found.configs.values()))
        (Layer(name='conv', shares=(0.25,), floor_hits=1),)
    """
    kept, notes = finite(layer_rows(rows), "units", "kept")
    kept = [row for row in kept if number(row, "units")]
    if not kept:
        return None
    names = in_depth(text(row, "layer", "?") for row in kept)
    units = {text(row, "layer", "?"): whole(row, "units") for row in kept}
    groups = by_config(kept)
    ends = {name: found for name, own in groups.items() if (found := _ends(own, early(names))) is not None}
    configs = {name: _layers(own, names) for name, own in groups.items()}
    return Layers(names, units, configs, ends, beyond_others(kept), paths(rows, kept), notes)


def _layers(rows: Sequence[Row], names: Sequence[str]) -> tuple[Layer, ...]:
    found: list[Layer] = []
    by_name = grouped(rows, lambda row: text(row, "layer", "?"))
    for name in names:
        runs = grouped(by_name.get(name, []), lambda row: text(row, "run"))
        shares = tuple(_share(_last(own)) for own in runs.values())
        hits = sum(any(row.get("floor_hit") is True for row in own) for own in runs.values())
        if shares:
            found.append(Layer(name, shares, hits))
    return tuple(found)


def _ends(rows: Sequence[Row], front: frozenset[str]) -> Ends | None:
    """Both ends of the network, first within each run, then over runs."""
    runs = [_shares(own) for own in grouped(rows, lambda row: text(row, "run")).values()]
    parts = [
        [_mean(share for name, share in of_run.items() if (name in front) is side) for of_run in runs]
        for side in (True, False)
    ]
    first, rest = ([value for value in part if value is not None] for part in parts)
    return Ends(spread(first), spread(rest)) if first and rest else None


def _shares(rows: Sequence[Row]) -> Mapping[str, float]:
    by_name = grouped(rows, lambda row: text(row, "layer", "?"))
    return {name: _share(_last(own)) for name, own in by_name.items()}


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _last(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: whole(row, "round"))


def _share(row: Row) -> float:
    return (number(row, "kept") or 0.0) / (number(row, "units") or 1.0)
