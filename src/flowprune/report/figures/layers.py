"""Figure: the kept share of each layer, one panel for each measure."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from flowprune.report.figures.marks import fills, points
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.sheet import PIXELS, SMALL, Width, grid, head, text_width
from flowprune.report.sentences.layers import caption, say
from flowprune.report.shapes.layers import Layer, Layers, layers
from flowprune.report.shapes.runs import Config
from flowprune.report.theme import INK, MUTED, Style, styles
from flowprune.report.wording import cut_in, plain


def draw(records: Layers, width: Width) -> Figure:
    """Dots for means, small ones for runs, a line through the layers; floors marked."""
    labels = [shorten(name) for name in records.names]
    margin = min(150.0, max(text_width(label) for label in labels) + 14)
    across = 1 if width == "narrow" else max(1, min(len(records.measures), 3))
    row = 26.0 if len(labels) <= 12 else max(7.0, 312.0 / len(labels))
    panels = Panels(len(records.measures), across, plot=row * len(labels) + 10, head=46, left=margin, right=26, foot=50)
    page = panels.sheet(width)
    looks = styles(records.measures)
    for index, measure in enumerate(records.measures):
        axes = panels.axes(page, index)
        _panel(axes, records, measure, looks)
        _names(axes, labels, PIXELS[width])
        rounds = sorted({c.rounds for c in records.configs if c.measure == measure})
        head(page, axes, plain(measure)[0].upper() + plain(measure)[1:], _marks(rounds))
    return page.figure


def _marks(rounds: list[int]) -> str:
    if len(rounds) == 1:
        return cut_in(rounds[0])
    if len(rounds) == 2:
        return f"hollow: {cut_in(rounds[0])}, full: {cut_in(rounds[1])}"
    return f"the fuller the mark, the more rounds ({', '.join(map(str, rounds))})"


def _panel(axes: Axes, records: Layers, measure: str, looks: Mapping[str, Style]) -> None:
    style, solid = looks[measure], fills(records.rounds)
    configs = [config for config in records.configs if config.measure == measure]
    places = {name: index for index, name in enumerate(records.names)}
    for index, config in enumerate(configs):
        shift = 0.0 if len(configs) == 1 else 0.34 * (index / (len(configs) - 1) - 0.5)
        found = records.configs[config]
        _config(axes, found, [places[layer.name] + shift for layer in found], style=style, fill=solid[config.rounds])
    _floors(axes, records, configs, places)
    overall = 100 * sum(records.overall(config) for config in configs) / len(configs)
    axes.axvline(overall, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0.6)
    axes.set_xlim(-2, 104)
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlabel("units kept, %", loc="left")
    grid(axes, x=True, y=False)


def _config(axes: Axes, found: tuple[Layer, ...], heights: list[float], *, style: Style, fill: float) -> None:
    for layer, height in zip(found, heights, strict=True):
        shares = [100 * share for share in layer.shares]
        axes.plot([min(shares), max(shares)], [height, height], color=style.colour, linewidth=1.2, alpha=0.45)
        axes.plot(shares, [height] * len(shares), "|", color=style.colour, markersize=5, markeredgewidth=1, alpha=0.7)
    points(axes, [100 * layer.kept.mean for layer in found], heights, style=style, fill=fill, size=5.5)


def _floors(axes: Axes, records: Layers, configs: list[Config], places: Mapping[str, int]) -> None:
    """The word "floor" beside each layer that the floor kept from being cut further, in any run."""
    for name, place in places.items():
        own = [layer for c in configs for layer in records.configs[c] if layer.name == name]
        if any(layer.floor_hits for layer in own):
            right = 100 * max(share for layer in own for share in layer.shares)
            axes.text(right + 5, place, "floor", fontsize=SMALL - 1.5, color=MUTED, va="center_baseline")


def _names(axes: Axes, labels: list[str], pixels: int) -> None:
    every = max(1, -(-len(labels) * 14 // max(1, round(26 * min(len(labels), 12)))))
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


PICTURE = Picture("What is left of each layer", "layer", layers, say, caption, draw)
