"""Table: final test accuracy by model, data set, rounds and measure, beside dense training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from flowprune.core.granularities import units_in_words
from flowprune.report.comparisons import DENSE, Comparison, comparisons
from flowprune.report.needs import Needs
from flowprune.report.shapes.runs import Config, all_rounds, by_config
from flowprune.report.spread import Spread, distinct, spread
from flowprune.report.tables.grid import MISSING, NEAR, Cell, Grid, Table, accuracy_cell, seeds
from flowprune.report.values import Row, kind, numbers
from flowprune.report.wording import ordered, percent

TITLE = "Final test accuracy, %"
Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class Line:
    """One comparison at one number of rounds: the accuracy of the dense runs and of each measure, by column."""

    key: Key
    dense: Mapping[Config, Spread]
    pruned: Mapping[Config, Spread]

    @property
    def best(self) -> Config | None:
        """The pruned column of the highest mean; None without any."""
        return max(self.pruned, key=lambda column: self.pruned[column].mean, default=None)

    def near(self, column: Config) -> bool:
        """Whether a column is within the spread of the best, and not the best itself."""
        if self.best is None or column == self.best or column not in self.pruned:
            return False
        return distinct(self.pruned[self.best], self.pruned[column]) is False


def accuracy(rows: Sequence[Row]) -> Grid | None:
    """The table, or None where no run stored a final test accuracy.

    Example:
        >>> base = {"kind": "result", "dataset": "digits", "model": "mlp", "rounds": 1, "sparsity": 0.75}
        >>> found = accuracy([{**base, "measure": m, "seed": s, "test_accuracy_final": a + s / 100}
        ...                   for m, a in (("magnitude", 0.9), ("obd", 0.8)) for s in (0, 1)])
        >>> [str(cell) for cell in found.lines[0]]
        ['mlp', 'digits', '75 %', '1', '–', '**90.50 ± 0.71**', '80.50 ± 0.71']
    """
    found = sorted(
        (line for comparison in comparisons(kind(rows, "result")) for line in _lines(comparison)),
        key=lambda line: line.key,
    )
    if not found:
        return None
    dense = _columns(column for line in found for column in line.dense) or (Config(0, DENSE),)
    pruned = _columns(column for line in found for column in line.pruned)
    values = [value for line in found for value in (*line.dense.values(), *line.pruned.values())]
    most = max(value.n for value in values)
    body = tuple(_cells(line, dense, pruned, most) for line in found)
    columns = ("model", "data", "removed", "rounds", *(column.name for column in (*dense, *pruned)))
    note = (
        f"Mean ± sample standard deviation of the test accuracy after the last epoch; {seeds(values)}. Bold: the"
        f" highest pruned mean of its line. {NEAR}: within the spread of it (less than √(s₁² + s₂²) apart). –: no run."
    )
    return Grid(TITLE, columns, 4, body, note)


def _columns(found: Iterable[Config]) -> tuple[Config, ...]:
    names = list(dict.fromkeys(found))
    order = ordered(column.measure for column in names)
    return tuple(sorted(names, key=lambda column: (order.index(column.measure), column.setting)))


def _lines(comparison: Comparison) -> list[Line]:
    """A line for each number of rounds, the dense runs in each; one of dense runs alone where nothing was pruned."""
    values = {
        config: spread(found)
        for config, own in by_config(comparison.rows).items()
        if (found := numbers(own, "test_accuracy_final"))
    }
    dense = {config: value for config, value in values.items() if config.dense}
    rounds = all_rounds(values) or ((0,) if dense else ())
    share = removed(comparison.sparsity, comparison.granularity)
    # A column holds a measure at any number of rounds: the rounds are the line's.
    pruned = {
        n: {
            replace(config, rounds=0): value
            for config, value in values.items()
            if not config.dense and config.rounds == n
        }
        for n in rounds
    }
    return [Line((comparison.model, comparison.dataset, share, n), dense, pruned[n]) for n in rounds]


def removed(sparsity: float, granularity: str) -> str:
    """What share of which units is gone.

    Example:
        >>> removed(0.75, "channels"), removed(0.955, "weights"), removed(0.5, "nm:2:4"), removed(0.0, "")
        ('75 % of channels', '95.5 % of weights', '50 % of 2:4 weights', '–')
    """
    if not sparsity:
        return "–"
    share = percent(sparsity, 0 if round(100 * sparsity, 6).is_integer() else 1)
    return f"{share} of {units_in_words(granularity)}" if granularity else share


def _cells(line: Line, dense: Sequence[Config], pruned: Sequence[Config], most: int) -> tuple[Cell, ...]:
    model, dataset, share, rounds = line.key
    names = (Cell(model), Cell(dataset), Cell(share), Cell(str(rounds) if rounds else MISSING))
    reference = [accuracy_cell(line.dense.get(column), most=most) for column in dense]
    own = [
        accuracy_cell(line.pruned.get(column), most=most, bold=column == line.best, near=line.near(column))
        for column in pruned
    ]
    return (*names, *reference, *own)


TABLE = Table(TITLE, Needs("result"), accuracy)
