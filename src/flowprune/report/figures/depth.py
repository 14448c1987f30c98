"""Figure: accuracy at each sparsity, dense at the left, one panel for each network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from flowprune.report.figures.lines import DOTS, line, reach
from flowprune.report.figures.marks import KEY_LINE, key, key_height, points
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.sheet import PIXELS, SMALL, Width, columns, grid, head
from flowprune.report.looks import Looks, looks
from flowprune.report.needs import Needs
from flowprune.report.sentences.sparsities import caption, say
from flowprune.report.shapes.runs import Config
from flowprune.report.shapes.sparsities import Method, Network, Sparsities, sparsities
from flowprune.report.spread import Spread
from flowprune.report.theme import INK, MUTED, Style

ROOM, APART = 0.12, 0.018
"""Beside the first and the last sparsity, and between marks at one sparsity: in decades of the share kept."""
ALIKE = {"snip": "loss_preservation", "grasp": "gradient_norm_increase"}
"""Recipes that look like the measure they are made of."""


def draw(records: Sparsities, width: Width) -> Figure:
    """A line for each method from the dense network on, in the same limits in every panel; chance as a thin line."""
    known, count = _looks(records.configs), len(records.networks)
    top = key_height(records.configs, PIXELS[width]) + 10
    across = columns(count, width, 3)
    panels = Panels(count, across, plot=190 if count > 2 else 240, head=48, foot=44, left=38, right=14, top=top)
    page = panels.sheet(width)
    key(page, (0, KEY_LINE - 6), records.configs, known)
    for index, network in enumerate(records.networks):
        axes = panels.axes(page, index)
        _panel(axes, records, network, known)
        head(page, axes, network.words or "Accuracy by sparsity", "final test accuracy, %")
    return page.figure


def _looks(configs: Sequence[Config]) -> Looks:
    there = {config.measure for config in configs}
    names = {name: measure for name, measure in ALIKE.items() if measure not in there}
    alike = {config: replace(config, measure=names.get(config.measure, config.measure)) for config in configs}
    known = looks(alike.values())
    return {config: known[own] for config, own in alike.items()}


def _panel(axes: Axes, records: Sparsities, network: Network, known: Looks) -> None:
    count = len(records.configs)
    apart = min(APART, ROOM / 2 / count)
    shifts = {config: apart * (index - (count - 1) / 2) for index, config in enumerate(records.configs)}
    for method in network.methods:
        _method(axes, network, method, known[method.config], shift=shifts[method.config])
    if network.dense is not None:
        _dense(axes, network.dense)
    if records.chance is not None:
        _chance(axes, records.chance)
    low, high = reach(records.values)
    low, high = max(0.0, min(low, records.chance or low)), min(1.0, high)
    room = 0.05 * max(high - low, 0.02)
    axes.set_ylim(low - (2 if records.chance else 1) * room, high + room)  # below chance stands its name
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    _sparsity_axis(axes, records)
    grid(axes)


def _method(axes: Axes, network: Network, method: Method, style: Style, *, shift: float) -> None:
    """A line from the dense network on, with a mark at each sparsity; the mark alone where there is but one."""
    at = [place(sparsity) + shift for sparsity in method.sparsities]
    if len(at) > 1 and network.dense is not None:
        line(axes, [0.0, *at], (network.dense, *method.values), style, thick=1.6)
    else:
        line(axes, at, method.values, style, thick=1.6)
    points(axes, at, [value.mean for value in method.values], style=style, fill=0.0 if style.dashed else 1.0, size=5)


def _percent(share: float, _: int | None = None) -> str:
    return f"{100 * share:.4g}"


def _dense(axes: Axes, value: Spread) -> None:
    bar = None if value.std is None else [value.std]
    axes.errorbar([0.0], [value.mean], yerr=bar, fmt="o", color=INK, markersize=5, elinewidth=1.1, zorder=3.2)


def _chance(axes: Axes, chance: float) -> None:
    axes.axhline(chance, color=MUTED, linewidth=0.9, linestyle=DOTS, zorder=1)
    axes.annotate(
        "chance",
        (0, chance),
        xycoords=("axes fraction", "data"),
        xytext=(4, -3),
        textcoords="offset points",
        fontsize=SMALL - 1,
        color=MUTED,
        va="top",
    )


def place(sparsity: float) -> float:
    """Where a sparsity stands: decades of the share kept below all.

    Example:
        >>> place(0.0), place(0.9), round(place(0.99), 9)
        (0.0, 1.0, 2.0)
    """
    return -math.log10(1 - sparsity) + 0.0


def _sparsity_axis(axes: Axes, records: Sparsities) -> None:
    ticks = {place(sparsity): f"{100 * sparsity:g}" for sparsity in records.sparsities}
    ticks[0.0] = "dense"
    axes.set_xlim(-ROOM, max(ticks) + ROOM)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("sparsity, %", loc="left")


PICTURE = Picture("Accuracy at several sparsities", Needs("result"), sparsities, say, caption, draw, across=True)
