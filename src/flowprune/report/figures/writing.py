"""A figure by name, as a drawing or as a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from flowprune.core.errors import invalid
from flowprune.report.comparisons import Comparison, comparisons, only
from flowprune.report.figures import FIGURES
from flowprune.report.figures.sheet import Width
from flowprune.report.figures.svg import png, svg
from flowprune.report.values import Row

SUFFIXES = (".svg", ".png")


@dataclass(frozen=True)
class Written:
    """A figure that was written: where, of which comparison, what it shows, how to read it and what it leaves out."""

    path: Path
    comparison: str
    sentence: str
    caption: str
    notes: tuple[str, ...]


def draw_figure(rows: Sequence[Row], name: str, width: Width = "wide") -> Figure:
    """The figure ``name`` of :data:`~flowprune.report.figures.FIGURES` for the rows of one comparison.

    One that is across sparsities takes the rows of one model and data set.

    Raises:
        ValueError: ``rows`` are of several comparisons, or carry nothing that the figure draws.
        UnknownNameError: there is no such figure.
    """
    picture = FIGURES[name]
    found = _whole("draw_figure(rows=)", rows) if picture.across else only("draw_figure(rows=)", rows)
    drawn = picture.of(found.rows)
    if drawn is None:
        raise picture.needs.missing("draw_figure(rows=)", _kinds(rows))
    return drawn.draw(width)


def write_figure(rows: Sequence[Row], name: str, path: Path | str, width: Width = "wide") -> Path:
    """Write a figure as ``.svg`` or ``.png``, by the ending of ``path``; the same rows give the same bytes of SVG.

    Raises:
        ValueError: another ending; and see :func:`draw_figure`.
    """
    path = _checked("write_figure(path=)", path)
    return _save(draw_figure(rows, name, width), path)


def write_figures(rows: Sequence[Row], name: str, path: Path | str, width: Width = "wide") -> tuple[Written, ...]:
    """Write a figure for each comparison that carries it: to ``path`` itself where there is one, else beside it.

    With several comparisons, each file's name says which it is of. What dense runs alone tell, and what is across
    sparsities, is drawn once for each model and data set.

    Raises:
        ValueError: an ending other than ``.svg`` and ``.png``, or no comparison carries what the figure draws.
        UnknownNameError: there is no such figure.
    """
    picture, once = FIGURES[name], FIGURES[name].across or FIGURES[name].needs.runs == "dense"
    drawn = [(each, at, made) for each, at in places(rows, name, path) if (made := picture.of(each.rows)) is not None]
    if not drawn:
        raise picture.needs.missing("write_figures(rows=)", _kinds(rows))
    written: list[Written] = []
    for comparison, own, each in drawn:
        where = f"{comparison.model} on {comparison.dataset}" if once else comparison.title
        written.append(Written(_save(each.draw(width), own), where, each.sentence, each.caption, each.notes))
    return tuple(written)


def places(rows: Sequence[Row], name: str, path: Path | str) -> list[tuple[Comparison, Path]]:
    """Each comparison that a figure may be drawn of, and the file that :func:`write_figures` writes it to.

    Raises:
        ValueError: an ending other than ``.svg`` and ``.png``.
        UnknownNameError: there is no such figure.
    """
    dense, path = FIGURES[name].needs.runs == "dense", _checked("write_figures(path=)", path)
    found = _apart(comparisons(rows)) if dense else list(comparisons(rows))
    found = across(rows) if FIGURES[name].across else found
    if len(found) == 1:
        return [(found[0], path)]
    return [(each, path.with_name(f"{path.stem}-{slug(each, dense=dense)}{path.suffix}")) for each in found]


def _apart(found: Sequence[Comparison]) -> list[Comparison]:
    """The first comparison of each model and data set."""
    return list({(comparison.model, comparison.dataset): comparison for comparison in reversed(found)}.values())[::-1]


def across(rows: Sequence[Row]) -> list[Comparison]:
    """The rows of each model, data set and kind of units at all sparsities, as if they were one comparison."""
    found: dict[tuple[str, str, str], dict[int, Row]] = {}
    for each in comparisons(rows):
        own = found.setdefault((each.dataset, each.model, each.granularity), {})
        own.update((id(row), row) for row in each.rows)  # dense runs come with every sparsity
    return [Comparison(d, m, 0.0, units, tuple(own.values())) for (d, m, units), own in found.items()]


def _whole(where: str, rows: Sequence[Row]) -> Comparison:
    """The rows of the one model and data set.

    Raises:
        ValueError: where there is none, or more than one.
    """
    found = across(rows)
    if len(found) != 1:
        got = [f"{each.model} on {each.dataset}" for each in found]
        raise invalid(where, "rows of one data set, model and kind of units", got, "Filter the rows by them.")
    return found[0]


def slug(comparison: Comparison, *, dense: bool = False) -> str:
    """A comparison as a part of a file's name; its dense runs are those of any sparsity.

    Example:
        >>> slug(Comparison("cifar10", "vgg13", 0.75, "channels", ())), slug(Comparison("my data", "a/b", 0.0, "", ()))
        ('vgg13-cifar10-75-channels', 'a-b-my-data')
    """
    share = f"{100 * comparison.sparsity:g}" if comparison.sparsity else ""
    removed = [] if dense else [share, comparison.granularity]
    return re.sub(r"[^\w.]+", "-", "-".join(part for part in (comparison.model, comparison.dataset, *removed) if part))


def _checked(where: str, path: Path | str) -> Path:
    if Path(path).suffix not in SUFFIXES:
        raise invalid(where, "a path that ends in .svg or .png", str(path))
    return Path(path)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(figure) if path.suffix == ".png" else svg(figure).encode())
    return path


def _kinds(rows: Sequence[Row]) -> list[str]:
    return sorted({str(row.get("kind")) for row in rows})
