"""What of each pruned network does anything after its last cut: the stored diagnosis of layer collapse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowprune.report.shapes.depth import in_depth
from flowprune.report.shapes.runs import Config, by_config, grouped
from flowprune.report.shapes.warned import Warned, warned
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, finite, kind, number, text, whole, words

UNITS_AS_ONE = ("channels", "heads", "depth")
"""Granularities whose masks leave what reads a removed unit in place, idle, until it is removed too."""


@dataclass(frozen=True)
class Left:
    """What is left of one layer in one run; ``effective``: kept weights on a path from the input to the output.

    Example:
        >>> Left("conv", 4, 40, 2, 1, 8).density, Left("conv", 4, 40).density
        (0.05, 0.1)
    """

    name: str
    kept: int
    total: int
    effective: int | None = None
    dead: int | None = None
    outputs: int | None = None

    @property
    def alive(self) -> int:
        """What does anything, as far as is known: the effective weights, else the kept ones."""
        return self.kept if self.effective is None else self.effective

    @property
    def density(self) -> float:
        """The share of the layer that does anything."""
        return self.alive / self.total


@dataclass(frozen=True)
class Network:
    """What is left of one network.

    Attributes:
        run, seed: Whose.
        epoch: After which the last cut came; 0 before training.
        unit: What is counted: ``"weights"`` or ``"channels"``.
        as_one: Whether whole channels, heads or blocks were chosen: idle weights beside them say nothing.
        sparsity: The share removed, as the layers count it.
        effective: The share removed or on no path; None where it is not known.
        compression: All / kept; infinite where nothing is kept.
        safe: The largest sparsity that empties no layer, and ``dies_first``, the layer that the next cut would empty.
        conservation: The largest residual of the layers' totals of θ·g.
        layers: In the order of the network; empty where none was stored.
        warnings: In words.
    """

    run: str
    seed: str
    epoch: int
    unit: str
    as_one: bool
    sparsity: float
    effective: float | None
    compression: float
    safe: float | None
    dies_first: str
    conservation: float | None
    layers: tuple[Left, ...]
    warnings: tuple[str, ...]

    @property
    def thinnest(self) -> Left | None:
        """The layer of which the least does anything."""
        return min(self.layers, key=lambda layer: (layer.density, layer.kept), default=None)

    @property
    def dead(self) -> tuple[int, int] | None:
        """Dead outputs of all layers, and all outputs; None where they were not counted."""
        pairs = [(each.dead, each.outputs) for each in self.layers if each.dead is not None and each.outputs]
        return (sum(dead for dead, _ in pairs), sum(outputs for _, outputs in pairs)) if pairs else None

    @property
    def idle(self) -> float | None:
        """The share of the kept weights that is on no path; None where it is not known or says nothing."""
        if self.effective is None or self.as_one or self.sparsity >= 1:
            return None
        return max(0.0, (self.effective - self.sparsity) / (1 - self.sparsity))


@dataclass(frozen=True)
class Thinnest:
    """The thinnest layer over seeds: of one of them, where it is not the same in all (``varies``)."""

    name: str
    kept: Spread
    alive: Spread
    total: int
    varies: bool


@dataclass(frozen=True)
class Collapse:
    """The networks of each configuration, and each warning once."""

    configs: Mapping[Config, tuple[Network, ...]]
    warnings: tuple[Warned, ...]
    notes: tuple[str, ...]


def collapse(rows: Sequence[Row]) -> Collapse | None:
    """The last ``kind="collapse"`` row of each run with its ``kind="collapse_layer"`` rows, or None without any.

    Example:
        >>> row = {"kind": "collapse", "run": "r", "measure": "random", "rounds": 1, "epoch": 0, "sparsity": 0.9}
        >>> layer = {"kind": "collapse_layer", "run": "r", "epoch": 0, "layer": "conv", "kept": 1, "total": 10}
        >>> (network,) = collapse([row, layer]).configs[Config(1, "random")]
        >>> network.thinnest.density, round(network.compression, 6)
        (0.1, 10.0)
    """
    found, notes = finite(kind(rows, "collapse"), "sparsity")
    if not found:
        return None
    layers = grouped(kind(rows, "collapse_layer"), lambda row: text(row, "run"))
    configs: dict[Config, tuple[Network, ...]] = {}
    for config, own in by_config(found).items():
        runs = grouped(own, lambda row: text(row, "run"))
        configs[config] = tuple(_network(_last(each), layers.get(run, ())) for run, each in runs.items())
    given = [(config, each.seed, each.warnings) for config, own in configs.items() for each in own]
    names = {text(row, "layer") for own in layers.values() for row in own}
    return Collapse(configs, _worst_first(warned(given, names), configs), notes)


def _worst_first(found: Sequence[Warned], configs: Mapping[Config, Sequence[Network]]) -> tuple[Warned, ...]:
    """Warnings by the least that is alive of any layer of the runs they concern; of equals, the rarer first."""

    def rank(each: Warned) -> tuple[float, int]:
        networks = [
            network for config, seeds in each.seeds.items() for network in configs[config] if network.seed in seeds
        ]
        return min(_alive(network) for network in networks), len(networks)

    return tuple(sorted(found, key=rank))


def _alive(network: Network) -> float:
    return 1.0 if network.thinnest is None else network.thinnest.density


def thinnest(networks: Sequence[Network]) -> Thinnest | None:
    """The thinnest layer of networks that differ in their seed; None where no layer was stored.

    Example:
        >>> about = ("r", "0", 0, "weights", False, 0.9, None, 10.0, None, "", None)
        >>> thin = thinnest([Network(*about, (Left("a", kept, 10), Left("b", 9, 10)), ()) for kept in (1, 3)])
        >>> thin.name, thin.kept.mean, thin.varies
        ('a', 2.0, False)
    """
    found = [each.thinnest for each in networks if each.thinnest is not None]
    if not found:
        return None
    varies = len({layer.name for layer in found}) > 1
    least = min(found, key=lambda layer: (layer.density, layer.kept))
    told = [least] if varies else found
    kept, alive = spread(layer.kept for layer in told), spread(layer.alive for layer in told)
    return Thinnest(least.name, kept, alive, least.total, varies)


def _last(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: whole(row, "epoch"))


def _network(row: Row, layers: Sequence[Row]) -> Network:
    at_last = _layers([each for each in layers if whole(each, "epoch") == whole(row, "epoch")])
    sparsity = _sparsity(row, at_last)
    return Network(
        run=text(row, "run"),
        seed=text(row, "seed", "?"),
        epoch=whole(row, "epoch"),
        unit=text(row, "unit", "weights"),
        as_one=text(row, "granularity").partition(":")[0] in UNITS_AS_ONE,
        sparsity=sparsity,
        effective=number(row, "effective_sparsity"),
        compression=1 / (1 - sparsity) if sparsity < 1 else math.inf,
        safe=number(row, "largest_safe_sparsity"),
        dies_first=text(row, "dies_first"),
        conservation=number(row, "conservation"),
        layers=at_last,
        warnings=words(row, "warnings"),
    )


def _sparsity(row: Row, layers: Sequence[Left]) -> float:
    """Counted: under ``sparsity``, stored rows have what their run was asked for."""
    total = sum(layer.total for layer in layers)
    if total:
        return (total - sum(layer.kept for layer in layers)) / total
    achieved = number(row, "achieved_sparsity")
    return (number(row, "sparsity") or 0.0) if achieved is None else achieved


def _layers(rows: Sequence[Row]) -> tuple[Left, ...]:
    by_name = {text(row, "layer", "?"): row for row in rows if number(row, "total") and number(row, "kept") is not None}
    return tuple(_left(name, by_name[name]) for name in in_depth(by_name))


def _left(name: str, row: Row) -> Left:
    effective, dead, outputs = (_count(row, key) for key in ("effective", "dead_outputs", "outputs"))
    return Left(name, whole(row, "kept"), whole(row, "total"), effective, dead, outputs)


def _count(row: Row, key: str) -> int | None:
    return None if number(row, key) is None else whole(row, key)
