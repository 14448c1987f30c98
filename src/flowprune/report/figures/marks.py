"""Marks shared by figures: points of a configuration, the key that explains them, labels at line ends."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D

from flowprune.report.figures.sheet import SMALL, Sheet, flow_right, text_width
from flowprune.report.looks import Looks
from flowprune.report.shapes.runs import Config
from flowprune.report.theme import INK, MUTED, PAPER, Style
from flowprune.report.wording import cut_in

KEY_LINE = 19.0
Entry = tuple[str, Config | None, float]
"""Of a key: words, what they are of, and how solid its marker is; None for a number of rounds."""


def fills(rounds: Sequence[int]) -> dict[int, float]:
    """How solid a marker is: hollow for the fewest rounds, full for the most.

    Example:
        >>> fills((1, 5, 25)), fills((5,))
        ({1: 0.0, 5: 0.5, 25: 1.0}, {5: 1.0})
    """
    if len(rounds) < 2:
        return dict.fromkeys(rounds, 1.0)
    return {value: index / (len(rounds) - 1) for index, value in enumerate(rounds)}


def face(style: Style, fill: float) -> str | tuple[float, float, float, float]:
    """The fill of a marker: paper for hollow ones, so that they hide what is behind them."""
    return PAPER if fill == 0 else to_rgba(style.colour, fill)


def points(
    axes: Axes, xs: Sequence[float], ys: Sequence[float], *, style: Style, fill: float = 1.0, size: float = 5.5
) -> None:
    """Markers of one configuration."""
    marker = "o" if style.marker == "_" else style.marker
    axes.plot(
        xs,
        ys,
        linestyle="none",
        marker=marker,
        markersize=size,
        markerfacecolor=face(style, fill),
        markeredgecolor=style.colour,
        markeredgewidth=1.2,
        zorder=3,
        clip_on=False,  # a mark at the edge is shown whole
    )


def key_height(configs: Sequence[Config], width: float) -> float:
    """The height that :func:`key` will take."""
    entries = _entries(configs)
    rows = _flow(entries, width)
    return KEY_LINE * (max((row for row, _ in rows), default=-1) + 1)


def key(page: Sheet, at: tuple[float, float], configs: Sequence[Config], known: Looks) -> None:
    """A key in one or more lines: a marker for each measure and setting, and hollow or full for the rounds."""
    entries = _entries(configs)
    left, top = at
    for (words, config, fill), (row, x) in zip(entries, _flow(entries, page.width - left), strict=True):
        style = known[config] if config else Style(MUTED, "o")
        px, py = left + x, top + KEY_LINE * row
        marker = "o" if style.marker == "_" else style.marker
        page.figure.add_artist(
            Line2D(
                [(px + 5) / page.width],
                [1 - (py - 4) / page.height],
                linestyle="none",
                marker=marker,
                markersize=6.5,
                markerfacecolor=face(style, fill),
                markeredgecolor=style.colour,
                markeredgewidth=1.2,
            )
        )
        page.figure.text((px + 14) / page.width, 1 - py / page.height, words, fontsize=SMALL, color=INK)


def _flow(entries: Sequence[Entry], limit: float) -> list[tuple[int, float]]:
    """Places from left to right; the numbers of rounds stay together."""
    return flow_right([_width(e[0]) for e in entries], limit, together=sum(e[1] is None for e in entries))


def _entries(configs: Sequence[Config]) -> list[Entry]:
    named = {config.name: config for config in reversed(configs)}
    order = dict.fromkeys(config.name for config in configs)
    rounds = sorted({c.rounds for c in configs if not c.dense})
    found: list[Entry] = [(name, named[name], 1.0) for name in order]
    return found + [(cut_in(r), None, fill) for r, fill in fills(rounds).items() if len(rounds) > 1]


def _width(words: str) -> float:
    return 14 + text_width(words) + 14


def dodge(positions: Sequence[float], gap: float, least: float = -math.inf) -> list[float]:
    """Positions moved as little as needed so that neighbours stand at least ``gap`` apart, order kept.

    Overlapping labels are merged into blocks that are spread about their mean (pool adjacent violators); then
    those that would stand below ``least`` are pushed up, and their neighbours with them.

    Example:
        >>> dodge([0.0, 1.0, 50.0], 10.0), dodge([0.0, 1.0, 50.0], 10.0, least=0.0)
        ([-4.5, 5.5, 50.0], [0.0, 10.0, 50.0])
    """
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and _start(blocks[-1], positions, gap) < _start(blocks[-2], positions, gap) + gap * len(
            blocks[-2]
        ):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    placed = [0.0] * len(positions)
    for block in blocks:
        start = _start(block, positions, gap)
        for offset, index in enumerate(block):
            placed[index] = start + gap * offset
    for index in order:
        placed[index] = max(placed[index], least)
        least = placed[index] + gap
    return placed


def _start(block: Sequence[int], positions: Sequence[float], gap: float) -> float:
    return sum(positions[i] for i in block) / len(block) - gap * (len(block) - 1) / 2
