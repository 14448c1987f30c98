"""A figure by name, as a drawing or as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from flowprune.core.errors import invalid
from flowprune.report.figures import FIGURES
from flowprune.report.figures.sheet import Width
from flowprune.report.figures.svg import png, svg
from flowprune.report.studies import only
from flowprune.report.values import Row


def draw_figure(rows: Sequence[Row], name: str, width: Width = "wide") -> Figure:
    """The figure ``name`` of :data:`~flowprune.report.figures.FIGURES` for the rows of one study.

    Raises:
        ValueError: ``rows`` are of several studies, or carry nothing that the figure draws.
        UnknownNameError: there is no such figure.
    """
    picture = FIGURES[name]
    drawn = picture.of(only("draw_figure(rows=)", rows).rows)
    if drawn is None:
        kinds = sorted({str(row.get("kind")) for row in rows})
        todo = "Record them: run the spec again with the recording on."
        raise invalid("draw_figure(rows=)", f"rows with usable {picture.needs!r} records", kinds, todo)
    return drawn.draw(width)


def write_figure(rows: Sequence[Row], name: str, path: Path | str, width: Width = "wide") -> Path:
    """Write a figure as ``.svg`` or ``.png``, by the ending of ``path``; the same rows give the same bytes of SVG.

    Raises:
        ValueError: another ending; and see :func:`draw_figure`.
    """
    path = Path(path)
    if path.suffix not in (".svg", ".png"):
        raise invalid("write_figure(path=)", "a path that ends in .svg or .png", str(path))
    figure = draw_figure(rows, name, width)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(figure) if path.suffix == ".png" else svg(figure).encode())
    return path
