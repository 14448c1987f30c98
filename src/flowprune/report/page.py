"""The report as one self-contained page of HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from flowprune.report import setting, verified
from flowprune.report.cells import COLUMNS, NOT_RECORDED, Cell, cells, conditions, shown
from flowprune.report.comparisons import Comparison, comparisons
from flowprune.report.evidence import Evidence, load
from flowprune.report.figures import FIGURES
from flowprune.report.figures.svg import inline
from flowprune.report.figures.writing import across
from flowprune.report.glance import Tile, glance
from flowprune.report.results import UNIT, Result, table
from flowprune.report.shapes.runs import by_config
from flowprune.report.tables import TABLES
from flowprune.report.tables.grid import Grid
from flowprune.report.theme import COLOURS
from flowprune.report.values import Row, kind, number, text
from flowprune.report.wording import duration, percent

TEMPLATES = Environment(
    loader=PackageLoader("flowprune.report", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# Blanks that must not break: before a unit, about ±, and in "n = 3" and "T = 200".
UNIT_BLANK = r"(?<=[\d.]) (?=(?:%|k|M|G|B|kB|MB|ms|s|min|points|times)(?![a-z]))"
UNITS = re.compile(UNIT_BLANK + r"|(?<=\d) (?=±)|(?<=±) |(?<=\b[nT]) (?== \d)|(?<=\b[nT] =) (?=\d)")


def bound(words: str) -> str:
    r"""The same text with each number tied to its unit by a no-break space.

    Example:
        >>> bound("3.1 % of 5 units")
        '3.1\xa0% of 5 units'
    """
    return UNITS.sub("\xa0", words)


TEMPLATES.filters["bound"] = bound


@dataclass(frozen=True)
class Plate:
    """One figure as it stands on the page."""

    name: str
    title: str
    sentence: str
    caption: str
    notes: tuple[str, ...]
    wide: str
    narrow: str


@dataclass(frozen=True)
class Chapter:
    """One comparison on the page; ``absent``: titles of the figures and tables for which nothing was recorded."""

    title: str
    tiles: tuple[Tile, ...]
    columns: tuple[str, ...]
    lines: tuple[tuple[Result, tuple[Cell, ...]], ...]
    conditions: str
    grids: tuple[tuple[str, Grid], ...]
    plates: tuple[Plate, ...]
    absent: tuple[str, ...]


def write(runs: Path, out: Path, *, title: str | None = None) -> Path:
    """Write the report of all finished runs below ``runs`` to ``out``, and return ``out``.

    The page stands alone: no script, no file beside it, no address outside it. The same runs give the same bytes.

    Raises:
        ValueError: there is no finished run.
        PruningError: a finished run is damaged.
    """
    page = render(load(runs), title=title)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return out


def render(evidence: Evidence, *, title: str | None = None) -> str:
    """The page as text. Pure: reads nothing but its argument and the template."""
    found = comparisons(evidence.rows)
    chapters = [_chapter(comparison, index, first=_first(found, index)) for index, comparison in enumerate(found)]
    chapters = _with_plates_across(chapters, found, evidence.rows)
    seconds = verified.seconds(evidence.rows)
    return TEMPLATES.get_template("report.html.j2").render(
        title=title or _title(chapters),
        lead=setting.lead(evidence.rows),
        facts=setting.facts(evidence),
        warnings=setting.warnings(evidence),
        chapters=chapters,
        grids=_grids(evidence.rows),
        unit=UNIT,
        checks=verified.checks(evidence.rows),
        cuts=len(kind(evidence.rows, "cut")),
        cut_time=f"{1000 * seconds:.0f} ms" if seconds is not None else "",
        settings=setting.settings(evidence),
        environment=setting.environment(evidence),
        runs=_runs(found),
        colours=[(name, light, dark) for light, (name, dark) in COLOURS.items()],
    )


def _title(chapters: Sequence[Chapter]) -> str:
    return chapters[0].title if len(chapters) == 1 else f"{len(chapters)} comparisons of early pruning"


def _first(found: Sequence[Comparison], index: int) -> bool:
    """Whether no comparison before this one has its model and data set: what dense runs alone tell is shown once."""
    where = (found[index].model, found[index].dataset)
    return all((comparison.model, comparison.dataset) != where for comparison in found[:index])


def _chapter(comparison: Comparison, index: int, *, first: bool) -> Chapter:
    results = table(comparison.rows)
    body = [cells(result) for result in results]
    columns = shown(body)
    names = [name for name in FIGURES if not FIGURES[name].across and (first or FIGURES[name].needs.runs != "dense")]
    plates = {name: _plate(comparison, name, f"s{index}-{name}") for name in names}
    grids = {name: TABLES[name].of(comparison.rows) for name in TABLES if TABLES[name].within}
    return Chapter(
        title=comparison.title,
        tiles=glance(results),
        columns=tuple(COLUMNS[index] for index in columns),
        lines=tuple((each, tuple(line[i] for i in columns)) for each, line in zip(results, body, strict=True)),
        conditions=conditions(results),
        grids=tuple((f"s{index}-table-{name}", grid) for name, grid in grids.items() if grid is not None),
        plates=tuple(plate for plate in plates.values() if plate is not None),
        absent=(
            *(FIGURES[name].title for name, plate in plates.items() if plate is None),
            *(TABLES[name].title for name, grid in grids.items() if grid is None),
        ),
    )


def _with_plates_across(chapters: Sequence[Chapter], found: Sequence[Comparison], rows: Sequence[Row]) -> list[Chapter]:
    """The chapters, the first of each model, data set and kind of units with what is across its sparsities, if any."""
    wide = {(each.dataset, each.model, each.granularity): each for each in across(rows)}
    made: list[Chapter] = []
    for index, (chapter, comparison) in enumerate(zip(chapters, found, strict=True)):
        whole = wide.pop((comparison.dataset, comparison.model, comparison.granularity), None)
        names = [] if whole is None else [name for name in FIGURES if FIGURES[name].across]
        plates = [None if whole is None else _plate(whole, name, f"s{index}-{name}") for name in names]
        made.append(replace(chapter, plates=(*(plate for plate in plates if plate is not None), *chapter.plates)))
    return made


def _plate(comparison: Comparison, name: str, prefix: str) -> Plate | None:
    picture = FIGURES[name]
    drawn = picture.of(comparison.rows)
    if drawn is None:
        return None
    alt = f"{picture.title}. {drawn.sentence}"
    return Plate(
        name=prefix,
        title=picture.title,
        sentence=drawn.sentence,
        caption=drawn.caption,
        notes=drawn.notes,
        wide=inline(drawn.draw("wide"), f"{prefix}-wide", alt),
        narrow=inline(drawn.draw("narrow"), f"{prefix}-narrow", alt),
    )


def _grids(rows: Sequence[Row]) -> list[tuple[str, Grid]]:
    """The tables that span several comparisons, by name."""
    found = [(f"table-{name}", TABLES[name].of(rows)) for name in TABLES if not TABLES[name].within]
    return [(name, grid) for name, grid in found if grid is not None and len(grid.groups) > 1]


def _runs(found: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """Run id, configuration, seed, final accuracy and training time of each run, comparison by comparison."""
    lines: dict[tuple[str, ...], None] = {}  # dense runs come with every sparsity
    for comparison in found:
        for config, own in by_config(kind(comparison.rows, "result")).items():
            where = f"{comparison.model} on {comparison.dataset}" if config.dense else comparison.title
            prefix = f"{where}: " if len(found) > 1 else ""
            for row in sorted(own, key=lambda row: number(row, "seed") or 0.0):
                lines[_run(row, f"{prefix}{config}")] = None
    return list(lines)


def _run(row: Row, configuration: str) -> tuple[str, ...]:
    accuracy, seconds = number(row, "test_accuracy_final"), number(row, "train_seconds")
    return (
        text(row, "run", "?"),
        configuration,
        text(row, "seed", "?"),
        NOT_RECORDED if accuracy is None else percent(accuracy, 2),
        NOT_RECORDED if seconds is None else duration(seconds),
    )
