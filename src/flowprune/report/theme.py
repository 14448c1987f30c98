"""Colours and markers: told apart by colour-blind readers, in print, on paper and on a dark screen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flowprune.report.wording import ordered

INK = "#1d242b"
MUTED = "#5b6670"
RULE = "#dde2e7"
PAPER = "#ffffff"

# Light colour -> (name of the CSS variable, colour on a dark screen). The five hues were searched for the
# largest least distance under normal sight and three simulated kinds of colour blindness (Machado et al. 2009).
COLOURS = {
    INK: ("ink", "#e4e9ee"),
    MUTED: ("muted", "#9aa7b3"),
    RULE: ("rule", "#2f3841"),
    PAPER: ("paper", "#171c21"),
    "#3d454d": ("c-dense", "#c9d1d9"),
    "#1156b9": ("c-1", "#55a0f7"),
    "#b1822a": ("c-2", "#f1b05b"),
    "#6b1a12": ("c-3", "#e85217"),
    "#d2459c": ("c-4", "#e6589b"),
    "#1d9a69": ("c-5", "#2fdc95"),
    "#6f7d8c": ("c-6", "#93a3b3"),
    "#0a93b5": ("c-7", "#4fd0ee"),
    "#7a5bd6": ("c-8", "#b39bff"),
}
SERIES = ("#1156b9", "#b1822a", "#6b1a12", "#d2459c", "#1d9a69", "#6f7d8c", "#0a93b5", "#7a5bd6")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p", "h", "*", "<", ">")
KNOWN = (
    "magnitude",
    "loss_preservation",
    "biased_loss",
    "gradient_norm_increase",
    "gradient_norm_preservation",
)


@dataclass(frozen=True)
class Style:
    """How one measure looks in every figure."""

    colour: str
    marker: str
    dashed: bool = False


def styles(measures: Iterable[str]) -> dict[str, Style]:
    """A style for each measure; those of the founding paper keep theirs whatever else is there.

    Measures beyond the palette repeat its colours with other markers and dashed lines.

    Example:
        >>> found = styles(["dense", "magnitude", "synflow"])
        >>> found["magnitude"].marker, found["synflow"].colour
        ('o', '#6f7d8c')
    """
    names = ordered(measures)
    others = [name for name in names if name != "dense" and name not in KNOWN]
    chosen = {"dense": Style("#3d454d", "_")}
    for index, name in enumerate((*KNOWN, *others)):
        chosen[name] = Style(SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)], index >= len(SERIES))
    return {name: chosen[name] for name in names}
