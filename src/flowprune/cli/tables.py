"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from torch import Tensor

    from flowprune.analysis import Flow, MeasuredFlow, Observations
    from flowprune.masks import Masks


WIDTH = 140
"""Columns where there is no terminal."""


def wide() -> Console:
    """The terminal; where there is none, lines as long as a table needs."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def grid(title: str, *columns: str) -> Table:
    """An empty table: the first column names, the others hold numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def scores_table(measure: str, scores: Mapping[str, Tensor]) -> None:
    """Units, least, mean and greatest score of each layer."""
    from flowprune.core.tensors import wide

    table = grid(f"{measure}: scores (larger = keep)", "layer", "units", "least", "mean", "greatest")
    for name, value in scores.items():
        numbers = (value.min(), wide(value).mean(), value.max())
        table.add_row(name, f"{value.numel():,}", *(f"{float(number):.4g}" for number in numbers))
    Console().print(table)


def masks_table(measure: str, masks: Masks) -> None:
    """Kept units of each layer."""
    table = grid(f"{measure}: sparsity {masks.sparsity:.4f}", "layer", "kept", "of", "fraction")
    for name, count in masks.per_layer().items():
        table.add_row(name, f"{count.kept:,}", f"{count.total:,}", f"{count.kept / count.total:.1%}")
    Console().print(table)


def flow_table(flow: Flow, measured: MeasuredFlow) -> None:
    """The norm and its derivatives under gradient flow."""
    table = grid("gradient flow", "quantity", "predicted", "measured")
    table.add_row("N = ‖θ‖²", "", f"{flow.norm2:.6g}")
    table.add_row("dN/dt = -2 θ·g", _number(flow.velocity), f"{measured.velocity:.6g}")
    table.add_row("d²N/dt² = 2(‖g‖² + θ·Hg)", _number(flow.acceleration), f"{measured.acceleration:.6g}")
    table.add_row("L", "", _number(flow.loss))
    table.add_row("dL/dt = -‖g‖²", _number(flow.loss_velocity), "")
    Console().print(table)


def agreement_table(scores: Mapping[str, Mapping[str, Tensor]], sparsity: float = 0.75) -> None:
    """Every pair of measures: rank correlation, and overlap of what they keep."""
    from flowprune.analysis import agreement

    table = grid("agreement of measures", "pair", "Spearman", "overlap")
    for a, b in combinations(scores, 2):
        found = agreement(scores[a], scores[b], sparsity=sparsity)
        table.add_row(f"{a} / {b}", f"{found.spearman:.3f}", f"{found.overlap:.3f}")
    Console().print(table)


def observations_table(found: Observations) -> None:
    """One line for each observation: the statistic, its value and interval, the verdict."""
    title = (
        f"the paper's observations: {found.sparsity:.0%} of {found.units:,} {found.granularity} cut, "
        f"{found.training.steps} steps at learning rate {found.training.learning_rate:g}"
    )
    table = grid(title, "statistic (> 0: holds)", "value", f"{found.confidence:.0%} interval", "n", "verdict")
    for each in found:
        value = "none" if each.value is None else f"{each.value:.3g}"
        words = f"{each.number} {each.statistic}"
        table.add_row(words, value, each.interval.replace("[", r"\["), str(each.n), each.verdict or "none")
    wide().print(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
