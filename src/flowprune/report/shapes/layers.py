"""What share of each layer's units is left after the last cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowprune.report.shapes.runs import Config, all_rounds, by_config, grouped
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, finite, kind, number, text, whole
from flowprune.report.wording import ordered


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
class Layers:
    """Layers in the order of the network, for each configuration."""

    names: tuple[str, ...]
    units: dict[str, int]
    configs: dict[Config, tuple[Layer, ...]]
    notes: tuple[str, ...]

    @property
    def measures(self) -> tuple[str, ...]:
        """The pruning measures: one panel each."""
        return ordered(name.measure for name in self.configs)

    @property
    def rounds(self) -> tuple[int, ...]:
        """The numbers of rounds."""
        return all_rounds(self.configs)

    def overall(self, config: Config) -> float:
        """The mean share kept of all units together under one configuration."""
        own = self.configs[config]
        kept = sum(layer.kept.mean * self.units[layer.name] for layer in own)
        return kept / sum(self.units[layer.name] for layer in own)


def layers(rows: Sequence[Row]) -> Layers | None:
    """The last round's ``kind="layer"`` rows of each run, or None.

    A floor counts as hit in a run if it held in any of its rounds.

    Example:
        >>> row = {"kind": "layer", "run": "r", "measure": "magnitude", "rounds": 2, "layer": "conv", "units": 8}
        >>> found = layers([{**row, "round": 1, "kept": 6}, {**row, "round": 2, "kept": 2, "floor_hit": True}])
        >>> next(iter(found.configs.values()))
        (Layer(name='conv', shares=(0.25,), floor_hits=1),)
    """
    kept, notes = finite(kind(rows, "layer"), "units", "kept")
    kept = [row for row in kept if number(row, "units")]
    if not kept:
        return None
    names = tuple(dict.fromkeys(text(row, "layer", "?") for row in kept))
    units = {text(row, "layer", "?"): whole(row, "units") for row in kept}
    return Layers(names, units, {name: _layers(own, names) for name, own in by_config(kept).items()}, notes)


def _layers(rows: Sequence[Row], names: Sequence[str]) -> tuple[Layer, ...]:
    found: list[Layer] = []
    by_name = grouped(rows, lambda row: text(row, "layer", "?"))
    for name in names:
        runs = grouped(by_name.get(name, []), lambda row: text(row, "run"))
        shares = tuple(_share(max(own, key=lambda row: whole(row, "round"))) for own in runs.values())
        hits = sum(any(row.get("floor_hit") is True for row in own) for own in runs.values())
        if shares:
            found.append(Layer(name, shares, hits))
    return tuple(found)


def _share(row: Row) -> float:
    return (number(row, "kept") or 0.0) / (number(row, "units") or 1.0)
