"""Figure: what the event that the first cut waits for read at each look."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flowprune.report.figures.lines import DASHES, over_epochs, rules
from flowprune.report.figures.marks import KEY_LINE, key, key_height, points
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import PLAIN
from flowprune.report.figures.sheet import PIXELS, Sheet, Width, columns, head
from flowprune.report.looks import Looks, looks
from flowprune.report.needs import Needs
from flowprune.report.sentences.when import caption, say
from flowprune.report.shapes.when import Wait, When, when
from flowprune.report.wording import plain

NEEDS = Needs("look", "prune.when", "--preset demo --set prune.when=early_bird", runs="pruned")


def draw(records: When, width: Width) -> Figure:
    """A panel for each event: a line, a threshold and a mark for each run."""
    configs = list(dict.fromkeys(wait.config for waits in records.events.values() for wait in waits))
    known = looks(configs)
    count = len(records.events)
    top = key_height(configs, PIXELS[width]) + 8
    panels = Panels(count, columns(count, width, 2), plot=230, left=46, right=16, top=top)
    page = panels.sheet(width)
    key(page, (0, KEY_LINE - 6), configs, known)
    for index, (name, waits) in enumerate(records.events.items()):
        _panel(page, panels.axes(page, index), name, waits, known)
    return page.figure


def _panel(page: Sheet, axes: Axes, name: str, waits: Sequence[Wait], known: Looks) -> None:
    rules(axes, sorted({wait.cut for wait in waits if wait.cut is not None}))
    for wait in waits:
        _line(axes, wait, known)
    over_epochs(axes, [look.epoch for wait in waits for look in wait.looks], "dotted: the first cut")
    axes.margins(x=0.03)
    axes.autoscale(axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(PLAIN)
    words = plain(name)
    head(page, axes, words[0].upper() + words[1:], "value at each look; dashed: threshold; full: it fired")


def _line(axes: Axes, wait: Wait, known: Looks) -> None:
    style = known[wait.config]
    seen = [(look.epoch, look.value) for look in wait.looks if look.value is not None]
    limits = [(look.epoch, look.threshold) for look in wait.looks if look.threshold is not None]
    axes.plot(*_split(limits), color=style.colour, linewidth=1.0, linestyle=DASHES, alpha=0.6, zorder=1.5)
    axes.plot(*_split(seen), color=style.colour, linewidth=1.3, alpha=0.8, zorder=2)
    points(axes, *_split([each for each in seen if each[0] != wait.fired]), style=style, fill=0.0, size=4)
    points(axes, *_split([each for each in seen if each[0] == wait.fired]), style=style, size=6.5)


def _split(pairs: Sequence[tuple[int, float]]) -> tuple[list[float], list[float]]:
    return [float(x) for x, _ in pairs], [y for _, y in pairs]


PICTURE = Picture("When the first cut came", NEEDS, when, say, caption, draw)
