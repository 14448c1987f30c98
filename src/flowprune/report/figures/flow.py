"""Figure: the norm along training, and its predicted derivatives against the measured ones."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from flowprune.report.figures.lines import DASHES, line
from flowprune.report.figures.marks import KEY_LINE, fills, key, key_height, points
from flowprune.report.figures.panels import Panels
from flowprune.report.figures.picture import Picture
from flowprune.report.figures.scales import PLAIN, decades, identity_axes, spans_decades
from flowprune.report.figures.sheet import PIXELS, Sheet, Width, grid, head
from flowprune.report.looks import Looks, looks
from flowprune.report.needs import Needs
from flowprune.report.sentences.flow import caption, say
from flowprune.report.shapes.flow import Flow, Pair, flow, means
from flowprune.report.wording import cut_in

NAMES = {
    "velocity": ("First derivative, d‖θ‖²/dt", "predicted −2θᵀg (E3)"),
    "acceleration": ("Second derivative, d²‖θ‖²/dt²", "predicted 2(‖g‖² + θᵀHg) (E4)"),
}


MOST = 6
"""Of more configurations the derivatives by epoch would be a tangle: those of dense runs are shown then."""


def draw(records: Flow, width: Width) -> Figure:
    """Norm panels above; below, each derivative over the epochs and on the identity line."""
    configs = [track.config for track in records.norms]
    known = looks([*configs, *(p.config for pairs in (records.velocity, records.acceleration) for p in pairs)])
    found = {name: pairs for name in NAMES if (pairs := getattr(records, name))}
    across = 2 if width == "wide" else 1
    start = -(-len(records.rounds) // across) * across  # a derivative's two panels stand side by side
    top = key_height(configs, PIXELS[width]) + 8
    panels = Panels(start + 2 * len(found), across, plot=215, left=52, right=16, top=top)
    page = panels.sheet(width)
    key(page, (0, KEY_LINE - 6), configs, known)
    for index, rounds in enumerate(records.rounds):
        span = panels.rest(index, len(records.rounds))
        _norm(page, panels.axes(page, index, span=span), records, rounds, known)
    for index, (name, pairs) in enumerate(found.items()):
        _epochs(page, panels.axes(page, start + 2 * index), records, name, known)
        _identity(page, panels.axes(page, start + 2 * index + 1), pairs, name, known)
    return page.figure


def _norm(page: Sheet, axes: Axes, records: Flow, rounds: int, known: Looks) -> None:
    for track in records.norms:
        if track.config.dense or track.config.rounds == rounds:
            style = known[track.config]
            line(axes, track.epochs, track.values, style)
            points(axes, [track.epochs[-1]], [track.values[-1].mean], style=style, size=5)
    tops = [value.mean + (value.std or 0.0) for track in records.norms for value in track.values]
    axes.set_ylim(0, 1.05 * max(tops) or 1.0)
    _over_epochs(axes)
    head(page, axes, f"Norm, cut in {cut_in(rounds)}" if rounds else "Norm", "‖θ‖²")


def _epochs(page: Sheet, axes: Axes, records: Flow, name: str, known: Looks) -> None:
    pairs: Sequence[Pair] = getattr(records, name)
    shown = {c: own for c, own in means(pairs).items() if c.dense or c.rounds == records.rounds[-1]}
    dense = {c: own for c, own in shown.items() if c.dense}
    if dense and len(shown) > MOST:
        shown = dense
    for config, own in shown.items():
        style = known[config]
        epochs = [epoch for epoch, _, _ in own]
        dash = DASHES if style.dashed else "solid"
        predicted = [value for _, value, _ in own]
        axes.plot(epochs, predicted, color=style.colour, linewidth=1.4, linestyle=dash, zorder=2)
        points(axes, epochs, [measured for _, _, measured in own], style=style, fill=0.0, size=4)
    values = [value for own in shown.values() for _, *both in own for value in both]
    threshold = spans_decades(values, most=2.5)
    if threshold is not None:
        axes.set_yscale("symlog", linthresh=threshold)
        axes.set_yticks(decades(min(values) * 2, max(values) * 2, threshold))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(PLAIN)
    axes.axhline(0, color=known[next(iter(shown))].colour, linewidth=0.6, alpha=0.4)
    _over_epochs(axes)
    pruned = any(not config.dense for config in shown)
    which = f"dense and {cut_in(records.rounds[-1])}, " if pruned else "dense, " if records.rounds[-1] else ""
    head(page, axes, NAMES[name][0], f"{which}line predicted, dots measured")


def _over_epochs(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=2))
    axes.set_xlabel("epoch", loc="left")
    axes.margins(x=0.02)
    grid(axes)


def _identity(page: Sheet, axes: Axes, pairs: Sequence[Pair], name: str, known: Looks) -> None:
    solid = fills(sorted({pair.config.rounds for pair in pairs if not pair.config.dense}))
    identity_axes(axes, [pair.predicted for pair in pairs], [pair.measured for pair in pairs])
    for config in dict.fromkeys(pair.config for pair in pairs):
        own = [pair for pair in pairs if pair.config == config]
        fill = solid.get(config.rounds, 1.0)
        xs, ys = [pair.predicted for pair in own], [pair.measured for pair in own]
        points(axes, xs, ys, style=known[config], fill=fill, size=4)
    axes.set_xlabel(NAMES[name][1], loc="left")
    grid(axes, x=True)
    head(page, axes, "Measured against predicted", "measured; dashed: equal")


PICTURE = Picture(
    "The norm and its derivatives", Needs("flow", "record.flow", "--study demo"), flow, say, caption, draw
)
