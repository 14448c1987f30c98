"""Table: what is left of each network after its last cut, and what of it does anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from flowprune.report.comparisons import Comparison, comparisons
from flowprune.report.needs import Needs
from flowprune.report.sentences.collapse import count_words, counted, idle, note, say, warning
from flowprune.report.shapes.collapse import Collapse, Network, collapse, thinnest
from flowprune.report.spread import spread
from flowprune.report.tables.accuracy import removed
from flowprune.report.tables.grid import MISSING, Cell, Grid, Table
from flowprune.report.values import Row
from flowprune.report.wording import compact, cut_in, figures

TITLE = "What is left after the last cut"
NAMES = ("model", "data", "removed", "measure")
KINDS = ("collapse", "collapse_layer")


def left(rows: Sequence[Row]) -> Grid | None:
    """The table, or None where no run stored a diagnosis.

    Example:
        >>> row = {"kind": "collapse", "run": "r", "measure": "random", "rounds": 1, "sparsity": 0.98,
        ...        "largest_safe_sparsity": 0.991, "dies_first": "conv"}
        >>> found = left([row])
        >>> found.columns[4:], [str(cell) for cell in found.lines[0][3:]]
        (('n', 'sparsity, %', 'compression, times', 'largest safe sparsity, %'), \
['random (1 round)', '1', '98.0', '50.0', '99.10 (conv dies first)'])
    """
    read = [(each, collapse(each.rows)) for each in comparisons([row for row in rows if row.get("kind") in KINDS])]
    found = [(comparison, records) for comparison, records in read if records is not None]
    if not found:
        return None
    lines = [line for comparison, records in found for line in _lines(comparison, records)]
    told = [i for i in range(len(lines[0])) if i < len(NAMES) or any(line[i].main != MISSING for line in lines)]
    columns = tuple((*NAMES, *COLUMNS)[i] for i in told)
    return Grid(
        title=TITLE,
        columns=columns,
        names=len(NAMES),
        lines=tuple(tuple(line[i] for i in told) for line in lines),
        note=" ".join((note([records for _, records in found], columns), *_notes(found))),
        sentence=_where(found, [[said] if (said := say(records)) else [] for _, records in found]),
        warnings=tuple(_warnings(found)),
    )


Found = Sequence[tuple[Comparison, Collapse]]


def _notes(found: Found) -> Iterable[str]:
    return (words for _, records in found for words in records.notes)


def _where(found: Found, said: Sequence[Sequence[str]]) -> str:
    """Sentences, each after its comparison where there are several."""
    several = len(found) > 1
    return " ".join(
        f"{comparison.title}: {words}" if several else words
        for (comparison, _), own in zip(found, said, strict=True)
        for words in own
    )


def _warnings(found: Found) -> Iterable[str]:
    for comparison, records in found:
        for each in records.warnings:
            words = warning(each, records)
            yield f"{comparison.title}: {words}" if len(found) > 1 else words


def _lines(comparison: Comparison, records: Collapse) -> list[tuple[Cell, ...]]:
    share = removed(comparison.sparsity, comparison.granularity)
    names = (Cell(comparison.model), Cell(comparison.dataset), Cell(share))
    return [
        (*names, Cell(config.name, cut_in(config.rounds)), *(cell(own) for cell in COLUMNS.values()))
        for config, own in records.configs.items()
    ]


def _mean(values: Iterable[float | None], runs: int, words: Callable[[float, float], str]) -> Cell:
    """A mean with its spread, if it shows at the same precision; over how many runs, where some have no value.

    ``words`` writes a number as finely as the mean, its second argument, asks for.
    """
    found = [value for value in values if value is not None]
    if not found:
        return Cell(MISSING)
    if math.inf in found:
        return Cell("infinite")
    value = spread(found)
    deviation = words(value.std, value.mean) if value.std else "0"
    shown = f" ± {deviation}" if deviation.strip("0.") else ""
    return Cell(words(value.mean, value.mean) + shown, f"n = {value.n}" if value.n != runs else "")


def sparsity_words(percent: float, mean: float) -> str:
    """A number of percent, fine enough to tell the density that a mean sparsity leaves to two figures.

    Example:
        >>> [sparsity_words(mean, mean) for mean in (98.0, 99.954, 25.0, 100.0)], sparsity_words(0.0123, 99.5)
        (['98.0', '99.954', '25.0', '100'], '0.01')
    """
    kept = 100 - mean
    return f"{percent:.{_decimals(kept, 2) if kept > 0 else 0}f}".replace("-", "−")


def _decimals(value: float, count: int) -> int:
    """The decimals that give ``count`` significant figures; one at least where the value is below 100."""
    return max(int(value < 100), count - 1 - math.floor(math.log10(value)))


def _n(own: Sequence[Network]) -> Cell:
    return Cell(str(len(own)))


def _sparsity(own: Sequence[Network]) -> Cell:
    return _mean((100 * each.sparsity for each in own), len(own), sparsity_words)


def _effective(own: Sequence[Network]) -> Cell:
    """The share removed or on no path; below, what share of the kept weights that makes idle."""
    cell = _mean((None if each.effective is None else 100 * each.effective for each in own), len(own), sparsity_words)
    share = idle(own)
    if share is None or not share.mean or cell.small:
        return cell
    return Cell(cell.main, f"of those kept, {figures(100 * share.mean, 2)} % idle")


def _times(value: float, mean: float) -> str:
    return f"{value:.{_decimals(mean, 3)}f}" if mean < 1e4 else compact(value)


def _compression(own: Sequence[Network]) -> Cell:
    return _mean((each.compression for each in own), len(own), _times)


def _thinnest(own: Sequence[Network]) -> Cell:
    thin = thinnest(own)
    if thin is None:
        return Cell(MISSING)
    name = thin.name.removesuffix(".weight")
    path = f", {counted(thin.alive)} on a path" if thin.alive != thin.kept else ""
    small = f"{counted(thin.kept)} of {compact(thin.total)} kept{path}"
    return Cell("varies", f"least: {name}, {small}") if thin.varies else Cell(name, small)


def _dead(own: Sequence[Network]) -> Cell:
    known = [each.dead for each in own if each.dead is not None]
    cell = _mean((dead for dead, _ in known), len(own), lambda value, _: count_words(value))
    return cell if cell.small or not known else Cell(cell.main, f"of {compact(known[0][1])}")


def _safe(own: Sequence[Network]) -> Cell:
    cell = _mean((None if each.safe is None else 100 * each.safe for each in own), len(own), sparsity_words)
    first = {each.dies_first for each in own if each.dies_first}
    if not first or cell.small:
        return cell
    return Cell(cell.main, f"{first.pop().removesuffix('.weight')} dies first" if len(first) == 1 else "varies")


def _conservation(own: Sequence[Network]) -> Cell:
    return _mean((each.conservation for each in own), len(own), lambda value, _: figures(value, 2))


COLUMNS: Mapping[str, Callable[[Sequence[Network]], Cell]] = {
    "n": _n,
    "sparsity, %": _sparsity,
    "effective sparsity, %": _effective,
    "compression, times": _compression,
    "thinnest layer": _thinnest,
    "dead units": _dead,
    "largest safe sparsity, %": _safe,
    "conservation residual": _conservation,
}
NEEDS = Needs("collapse", "prune.measure", "--study demo", runs="pruned")
TABLE = Table(TITLE, NEEDS, left, within=True)
