"""Figure: the kept share of each layer, one panel for each measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from flowprune.report.figures.marks import fills, points
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import share_axis
from flowprune.report.figures.sheet import PIXELS, SMALL, Width, columns, grid, head, text_width
from flowprune.report.looks import Looks, looks
from flowprune.report.needs import Needs
from flowprune.report.sentences.collapse import count_words
from flowprune.report.sentences.layers import caption, say
from flowprune.report.shapes.depth import early
from flowprune.report.shapes.layers import Kind, Layer, Layers, layers
from flowprune.report.shapes.runs import Config
from flowprune.report.theme import INK, MUTED, RULE, Style
from flowprune.report.wording import cut_in, joined

MANY = 12
"""Beyond so many layers the marks of fewer rounds would lie on each other: they become lines."""
DEAD_ROOM = 44.0
"""Beside a panel, for the numbers of dead units. Units: pixels."""


def draw(records: Layers, width: Width) -> Figure:
    """Marks for means, short strokes for runs, lines through the layers; early layers and floors marked."""
    labels = [shorten(name) for name in records.names]
    margin = min(150.0, max(text_width(label) for label in labels) + 14)
    across = columns(len(records.kinds), width, 2 if records.paths else 3)
    row = 26.0 if len(labels) <= MANY else max(9.0, 312.0 / len(labels))
    right = DEAD_ROOM if records.dead else 26.0
    panels = Panels(len(records.kinds), across, plot=row * len(labels) + 10, head=46, left=margin, right=right, foot=50)
    page = panels.sheet(width)
    known = looks(records.configs)
    for index, kind in enumerate(records.kinds):
        axes = panels.axes(page, index)
        _panel(axes, records, kind, known)
        share_axis(axes, records.shares, most=max(3, int(panels.inner(width) / 34)))
        _names(axes, labels, PIXELS[width])
        name = records.of(kind)[-1].name
        head(page, axes, name[0].upper() + name[1:], _marks(records, kind))
    return page.figure


def _marks(records: Layers, kind: Kind) -> str:
    *fewer, most = (config.rounds for config in records.of(kind))
    if not fewer:
        return cut_in(most)
    if len(records.names) > MANY:
        return f"marks: {cut_in(most)}; lines: {joined([str(each) for each in fewer])}"
    if len(fewer) == 1:
        return f"hollow: {cut_in(fewer[0])}, full: {cut_in(most)}"
    return f"the fuller, the more rounds ({', '.join(map(str, (*fewer, most)))})"


def _panel(axes: Axes, records: Layers, kind: Kind, known: Looks) -> None:
    solid, configs = fills(records.rounds), records.of(kind)
    places = {name: index for index, name in enumerate(records.names)}
    lines = len(places) > MANY
    for index, config in enumerate(configs):
        shift = 0.0 if len(configs) == 1 or lines else 0.34 * (index / (len(configs) - 1) - 0.5)
        found = records.configs[config]
        heights = [places[layer.name] + shift for layer in found]
        _line(axes, found, heights, known[config], last=config == configs[-1])
        _floors(axes, found, heights)
        if not lines or config == configs[-1]:
            _idle(axes, records, config, heights, known[config])
            _config(axes, found, heights, style=known[config], fill=solid[config.rounds], size=4.5 if lines else 5.5)
    if records.dead:
        _dead(axes, records, configs[-1], places)
    overall = 100 * sum(records.overall(config) for config in configs) / len(configs)
    axes.axvline(overall, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0.6)
    axes.axhspan(-0.5, len(early(records.names)) - 0.5, color=RULE, alpha=0.45, linewidth=0, zorder=0.2)
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xlabel("units kept, %", loc="left")
    grid(axes, x=True, y=False)


def _line(axes: Axes, found: Sequence[Layer], heights: Sequence[float], style: Style, *, last: bool) -> None:
    shares = [100 * layer.kept.mean for layer in found]
    axes.plot(shares, heights, color=style.colour, linewidth=1.1, alpha=0.55 if last else 0.25, zorder=1.5)


def _config(
    axes: Axes, found: Sequence[Layer], heights: Sequence[float], *, style: Style, fill: float, size: float
) -> None:
    """Means as marks; every run as a short stroke, and a bar from the least to the most (one path for all layers)."""
    each = [([100 * share for share in layer.shares], y) for layer, y in zip(found, heights, strict=True)]
    bars = [(x, y) for shares, y in each for x in (min(shares), max(shares), math.nan)]
    axes.plot([x for x, _ in bars], [y for _, y in bars], color=style.colour, linewidth=1.2, alpha=0.45)
    strokes = [(share, y) for shares, y in each for share in shares]
    xs, ys = [x for x, _ in strokes], [y for _, y in strokes]
    axes.plot(xs, ys, "|", color=style.colour, markersize=5, markeredgewidth=1, alpha=0.7)
    points(axes, [100 * layer.kept.mean for layer in found], heights, style=style, fill=fill, size=size)


def _idle(axes: Axes, records: Layers, config: Config, heights: Sequence[float], style: Style) -> None:
    """Where less of a layer is on a path than is kept: a dotted line to the share that is, which ends in a cross."""
    pairs = [
        (100 * path.share.mean, 100 * layer.kept.mean, y)
        for layer, y in zip(records.configs[config], heights, strict=True)
        if (path := records.path(config, layer.name)) is not None and path.share.mean < layer.kept.mean
    ]
    tails = [(x, y) for alive, kept, y in pairs for x in (alive, kept, math.nan)]
    axes.plot([x for x, _ in tails], [y for _, y in tails], color=style.colour, linewidth=1.3, linestyle=(0, (1, 1.6)))
    xs, ys = [x for x, _, _ in pairs], [y for _, _, y in pairs]
    axes.plot(xs, ys, "x", color=style.colour, markersize=5.5, markeredgewidth=1.5, zorder=2.8, clip_on=False)


def _dead(axes: Axes, records: Layers, config: Config, places: Mapping[str, int]) -> None:
    """The dead outputs of each layer at the right end of its row, under the largest number of rounds."""
    beside = axes.get_yaxis_transform()
    for name, y in places.items():
        path = records.path(config, name)
        if path is not None and path.dead is not None and path.dead.mean:
            axes.text(
                1.03, y, count_words(path.dead.mean), transform=beside, fontsize=SMALL, color=INK, va="center_baseline"
            )
    axes.annotate(
        "dead",
        (1.03, 0),
        (0, -20),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=SMALL,
        color=MUTED,
        va="top",
    )


def _floors(axes: Axes, found: Sequence[Layer], heights: Sequence[float]) -> None:
    """A ring about each mark whose layer the floor kept from being cut further, in any run."""
    hit = [(100 * layer.kept.mean, y) for layer, y in zip(found, heights, strict=True) if layer.floor_hits]
    if hit:
        xs, ys = zip(*hit, strict=True)
        axes.plot(xs, ys, "o", markersize=10, color="none", markeredgecolor=INK, markeredgewidth=0.8, clip_on=False)


def _names(axes: Axes, labels: list[str], pixels: int) -> None:
    every = max(1, -(-len(labels) * 13 // round(26.0 * min(len(labels), MANY))))
    shown = range(0, len(labels), every)
    axes.set_yticks(list(shown), [labels[index] for index in shown], color=INK, fontsize=SMALL - (pixels < 400))
    axes.yaxis.set_minor_locator(NullLocator())


def shorten(name: str, most: int = 20) -> str:
    """A layer's name without what every layer's ends in, and no longer than ``most``.

    Example:
        >>> shorten("features.0.weight"), shorten("stage1.block10.branch.conv2.weight")
        ('features.0', '…k10.branch.conv2')
    """
    bare = name.removesuffix(".weight")
    return bare if len(bare) <= most else "…" + bare[-(most - 4) :]


NEEDS = Needs("layer", "prune.measure", "--study demo", runs="pruned")
PICTURE = Picture("What is left of each layer", NEEDS, layers, say, caption, draw)
