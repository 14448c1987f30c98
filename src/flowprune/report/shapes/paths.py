"""What share of each layer is on a path from input to output, beside what share of it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowprune.report.shapes.collapse import Left, collapse
from flowprune.report.shapes.runs import Config, grouped
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, kind, text, whole


@dataclass(frozen=True)
class Path:
    """One layer under one configuration: the share of it that is on a path, and its dead outputs where counted."""

    share: Spread
    dead: Spread | None


Paths = Mapping[Config, Mapping[str, Path]]


def paths(rows: Sequence[Row], layers: Sequence[Row]) -> Paths:
    """By configuration and layer; only of layers whose ``layers`` row counts the same units after the same cut.

    Masked channels are counted as units there and as weights here, so that the shares would not compare.

    Example:
        >>> about = {"run": "r", "measure": "random", "rounds": 1, "layer": "conv", "kept": 4}
        >>> diagnosis = {**about, "kind": "collapse", "sparsity": 0.6}
        >>> layer = {**about, "kind": "collapse_layer", "total": 10, "effective": 2}
        >>> found = paths([diagnosis, layer], [{**about, "kind": "layer", "units": 10}])
        >>> found[Config(1, "random")]["conv"].share.mean
        0.2
    """
    records = collapse(rows)
    if records is None:
        return {}
    counts = _counts(layers)
    found: dict[Config, dict[str, Path]] = {}
    for config, networks in records.configs.items():
        own: dict[str, list[Left]] = {}
        for network in networks:
            for each in network.layers:
                if each.effective is not None and counts.get((network.run, each.name)) == (each.kept, each.total):
                    own.setdefault(each.name, []).append(each)
        found[config] = {name: _path(of_runs) for name, of_runs in own.items()}
    return {config: own for config, own in found.items() if own}


def _counts(layers: Sequence[Row]) -> Mapping[tuple[str, str], tuple[int, int]]:
    """Kept units and all units of each layer of each run, after its last cut."""
    last = {
        key: max(own, key=lambda row: whole(row, "round"))
        for key, own in grouped(layers, lambda row: (text(row, "run"), text(row, "layer", "?"))).items()
    }
    return {key: (whole(row, "kept"), whole(row, "units")) for key, row in last.items()}


def _path(of_runs: Sequence[Left]) -> Path:
    dead = [each.dead for each in of_runs if each.dead is not None]
    return Path(spread(each.density for each in of_runs), spread(dead) if dead else None)


def layer_rows(rows: Sequence[Row]) -> list[Row]:
    """The ``kind="layer"`` rows, and the same made of the diagnosis of runs that stored none, as of their only cut.

    Example:
        >>> row = {"kind": "collapse_layer", "run": "r", "layer": "conv", "kept": 1, "total": 10}
        >>> [(row["kind"], row["round"], row["units"]) for row in layer_rows([row])]
        [('layer', 1, 10)]
    """
    stored = kind(rows, "layer")
    told = {text(row, "run") for row in stored}
    others = (row for row in kind(rows, "collapse_layer") if text(row, "run") not in told)
    return [*stored, *({**row, "kind": "layer", "round": 1, "units": row.get("total")} for row in others)]
