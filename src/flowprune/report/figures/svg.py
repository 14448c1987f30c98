"""A matplotlib figure as SVG text: for a file of its own, or for the inside of a page."""

from __future__ import annotations

import io
import re
from html import escape

from matplotlib.figure import Figure

from flowprune.report.figures.sheet import house_style
from flowprune.report.theme import COLOURS

FONTS = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


def svg(figure: Figure) -> str:
    """A file of its own; the same figure gives the same text, byte for byte."""
    buffer = io.StringIO()
    with house_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _own_font(_lean(buffer.getvalue()), FONTS)


def inline(figure: Figure, name: str, alt: str) -> str:
    """For the inside of a page: ids prefixed by ``name``, colours taken from the page's CSS variables.

    The colours of :mod:`flowprune.report.theme` become ``var(--…)``, so that the page's dark scheme reaches
    into the picture.
    """
    text = _own_font(svg(figure), "inherit")
    text = re.sub(r"<style.*?</style>", "", text[text.index("<svg") :], flags=re.S)
    box = re.search(r'viewBox="[^"]*"', text)
    opening = f'<svg class="{name.rsplit("-", 1)[-1]}" {box[0] if box else ""} role="img" aria-label="{escape(alt)}">'
    text = opening + text[text.index(">") + 1 :]
    return _variables(_ids(text, name))


def png(figure: Figure) -> bytes:
    """A raster picture at twice the size in pixels; carries no date."""
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    return buffer.getvalue()


def _lean(text: str) -> str:
    text = re.sub(r"<!DOCTYPE.*?>\s*", "", text, flags=re.S)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    text = re.sub(r' transform="rotate\(-0 [^"]*"', "", text)
    text = re.sub(r"(<g[^>]*)>\s*((?:<use [^>]*/>\s*)+)</g>", _hoist, text)
    # Coordinates need no more than a hundredth of a pixel; the words between tags are left alone.
    return re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d{2})\d+", r"\1", tag[0]), text)


def _hoist(group: re.Match[str]) -> str:
    """The style that all marks of a group share, said once."""
    found = set(re.findall(r' style="([^"]*)"', group[2]))
    if len(found) != 1 or "style=" in group[1]:
        return group[0]
    marks = re.sub(r">\s+<", "><", re.sub(r' style="[^"]*"', "", group[2]).strip())
    return f'{group[1]} style="{found.pop()}">{marks}</g>'


def _own_font(text: str, stack: str) -> str:
    # Readers' own sans serif is seldom wider than the one the layout was measured in.
    return re.sub(r"font-family:[^;\"]*;?", f"font-family: {stack};", text)


def _ids(text: str, name: str) -> str:
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    new = {old: f"{name}-{index}" for index, old in enumerate(sorted(used, key=text.index))}
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{new[m[1]]}"' if m[1] in new else "", text)
    text = re.sub(r"url\(#([^)]+)\)", lambda m: f"url(#{new[m[1]]})", text)
    return re.sub(r'xlink:href="#([^"]+)"', lambda m: f'href="#{new[m[1]]}"', text)


def _variables(text: str) -> str:
    for light, (variable, _) in COLOURS.items():
        text = text.replace(light, f"var(--{variable})")
    return text
