"""Figure: what each cut was predicted to change, against what it changed."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from flowprune.report.figures.marks import KEY_LINE, fills, key, key_height, points
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import PLAIN, identity_axes
from flowprune.report.figures.sheet import PIXELS, Sheet, Width, columns, grid, head
from flowprune.report.looks import Looks, looks
from flowprune.report.needs import Needs
from flowprune.report.sentences.cuts import caption, say
from flowprune.report.shapes.cuts import Cut, Cuts, cuts
from flowprune.report.shapes.runs import Config
from flowprune.report.theme import MUTED
from flowprune.report.wording import ordered


def draw(records: Cuts, width: Width) -> Figure:
    """Two scatters on the identity line, and how the error of the first order grows with the cut."""
    configs = sorted({cut.config for cut in (*records.loss, *records.gradient)})
    known = looks(configs)
    order = ordered(c.measure for c in configs)
    configs = sorted(configs, key=lambda c: (order.index(c.measure), c.setting, c.rounds))
    shown = [
        (records.loss, "Change of the loss", "predicted −Σθg (E6)"),
        (records.gradient, "Change of ‖g‖²", "predicted −2Σθ(Hg) (E7)"),
    ]
    shown = [panel for panel in shown if panel[0]]
    grown = [cut for cut in records.loss if cut.share is not None and cut.predicted != cut.measured]
    count = len(shown) + bool(grown)
    top = key_height(configs, PIXELS[width]) + 8
    panels = Panels(count, columns(count, width, 3), plot=228, left=50, right=14, top=top)
    page = panels.sheet(width)
    key(page, (0, KEY_LINE - 6), configs, known)
    for index, (own, title, label) in enumerate(shown):
        _identity(page, panels.axes(page, index), own, (title, label), known)
    if grown:
        _growth(page, panels.axes(page, count - 1), grown, known)
    return page.figure


def _scatter(axes: Axes, found: Sequence[tuple[Config, float, float]], known: Looks) -> None:
    solid = fills(sorted({config.rounds for config, _, _ in found}))
    for config in dict.fromkeys(config for config, _, _ in found):
        own = [(x, y) for name, x, y in found if name == config]
        xs, ys = [x for x, _ in own], [y for _, y in own]
        points(axes, xs, ys, style=known[config], fill=solid[config.rounds], size=5)


def _identity(page: Sheet, axes: Axes, own: Sequence[Cut], words: tuple[str, str], known: Looks) -> None:
    identity_axes(axes, [cut.predicted for cut in own], [cut.measured for cut in own])
    for line in (axes.axhline, axes.axvline):
        line(0, color=MUTED, linewidth=0.7, alpha=0.6, zorder=0.8)
    _scatter(axes, [(cut.config, cut.predicted, cut.measured) for cut in own], known)
    axes.set_xlabel(words[1], loc="left")
    grid(axes, x=True)
    head(page, axes, words[0], "measured; dashed: equal")


def _growth(page: Sheet, axes: Axes, own: Sequence[Cut], known: Looks) -> None:
    _scatter(axes, [(c.config, 100 * (c.share or 0.0), abs(c.predicted - c.measured)) for c in own], known)
    axes.set_yscale("log")
    axes.set_xlim(0, None)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PLAIN)
    axes.set_xlabel("units removed, % of those present", loc="left")
    grid(axes)
    head(page, axes, "Error of the first order", "|predicted − measured| change of loss")


PICTURE = Picture(
    "What a cut was predicted to change",
    Needs("cut", "record.cuts", "--study demo", runs="pruned"),
    cuts,
    say,
    caption,
    draw,
)
