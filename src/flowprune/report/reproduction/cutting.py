"""What cuts do to the loss and to the gradient norm, and whether that was predicted (E6, E7)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from flowprune.report.ranks import spearman
from flowprune.report.reproduction.case import BySeed, Case, above, case, difference, untestable
from flowprune.report.reproduction.claim import Cases, FromRows, found
from flowprune.report.reproduction.reading import Cell, Method, among, cells
from flowprune.report.shapes.cuts import Outcomes, skill
from flowprune.report.values import Row, number

CLASSES = {"cifar10": 10, "cifar100": 100, "mnist": 10, "fashion_mnist": 10, "digits": 10, "tiny_imagenet": 200}
TRAINED = ("trained_loss", "measured_trained_loss_change")
SCORED = ("loss", "measured_loss_change")
"""The loss before a cut, and its change: of the objective trained on, and of the one scored with."""
NO_LOSS = "the loss before the cut is above ln C, that of a blind guess ({loss:.1f} against {most:.1f} nats)"
NO_COMMON = "each change was measured at the temperature that the measure was scored at, and they differ"


def _first(key: str) -> Callable[[Sequence[Row]], float | None]:
    return lambda rows: next((number(row, key) for row in among(rows, round=1)), None)


def loss_changes(a: Method, b: Method, *, size: bool) -> FromRows:
    """The change of the loss at the first cut, a - b, at one temperature; with ``size``, that of its absolute value."""

    def compute(rows: Sequence[Row]) -> Cases:
        return found(_loss_change(cell, (a, b), size=size) for cell in cells(rows))

    return compute


def _loss_change(cell: Cell, pair: tuple[Method, Method], *, size: bool) -> Case | None:
    a, b = pair
    if not cell.of(a, "cut") or not cell.of(b, "cut"):
        return None
    keys = TRAINED if all(cell.value(each, "cut", _first(TRAINED[1])) for each in pair) else SCORED
    if keys == SCORED and a.temperature != b.temperature:
        return untestable(cell.where, NO_COMMON)
    measured = [cell.value(each, "cut", _first(keys[1])) for each in pair]
    own, other = ({s: abs(v) if size else v for s, v in values.items()} for values in measured)
    return _unless(_blind(cell, pair, keys[0]), case(cell.where, difference(own, other)))


def _unless(why: str, found: Case | None) -> Case | None:
    """The case, with its numbers and without a verdict where there is a reason against one."""
    if found is None or not why:
        return found
    return replace(found, testable=False, note="; ".join(part for part in (why, found.note) if part))


def _blind(cell: Cell, methods: Sequence[Method], key: str) -> str:
    """Why changes of the loss tell nothing where it is above that of a blind guess; empty where it is below."""
    classes = CLASSES.get(cell.comparison.dataset)
    before = [value for each in methods for value in cell.value(each, "cut", _first(key)).values()]
    if classes is None or not before or statistics.fmean(before) <= math.log(classes):
        return ""
    return NO_LOSS.format(loss=statistics.fmean(before), most=math.log(classes))


def own_changes(methods: Sequence[Method], of: str) -> FromRows:
    """The mean measured change over the cuts of a run, at the temperature that the measure is scored at.

    Of the loss, or of the squared gradient norm as a share of what it was.
    """

    def compute(rows: Sequence[Row]) -> Cases:
        return found(_own_change(cell, each, of) for cell in cells(rows) for each in methods)

    return compute


def _own_change(cell: Cell, method: Method, of: str) -> Case | None:
    where = f"{cell.where}, {method.name}"
    values = cell.value(method, "cut", lambda rows: _mean_change(rows, of))
    cuts = [c > 0 for rows in cell.of(method, "cut").values() for row in rows if (c := _change(row, of)) is not None]
    note = f"it rose in {sum(cuts)} of {len(cuts)} cuts"
    blind = _blind(cell, [method], SCORED[0]) if of == "loss" else ""
    return _unless(blind, case(where, values, note))


def _mean_change(rows: Sequence[Row], of: str) -> float | None:
    values = [value for row in rows if (value := _change(row, of)) is not None]
    return statistics.fmean(values) if values else None


def _change(row: Row, of: str) -> float | None:
    if of == "loss":
        return number(row, SCORED[1])
    change, before = number(row, "measured_gradient_norm2_change"), number(row, "gradient_norm2")
    return change / before if change is not None and before else None


def norm_changes(a: Method, b: Method) -> FromRows:
    """The size of the change of ‖g‖² at the first cut as a share of it, a - b, scored at one temperature."""

    def share(rows: Sequence[Row]) -> float | None:
        first = among(rows, round=1)
        value = _change(first[0], "gradient norm") if first else None
        return None if value is None else abs(value)

    def compute(rows: Sequence[Row]) -> Cases:
        return found(
            case(cell.where, difference(cell.value(a, "cut", share), cell.value(b, "cut", share)))
            for cell in cells(rows)
        )

    return compute


def signs(key: str) -> FromRows:
    """Balanced accuracy of the predicted sign less one half, in points, for each measure: no constant guess scores."""
    return _predicted(key, _sign)


def ranks(key: str) -> FromRows:
    """Spearman's correlation of predicted and measured changes over the cuts of a run, for each measure."""
    return _predicted(key, _rank)


def _predicted(key: str, make: Callable[[str, Mapping[str, Outcomes]], Case | None]) -> FromRows:
    def compute(rows: Sequence[Row]) -> Cases:
        return found(
            make(f"{cell.where}, {method.name}", _outcomes(cell, method, key))
            for cell in cells(rows, by_rounds=False)
            for method in cell.methods
        )

    return compute


def _outcomes(cell: Cell, method: Method, key: str) -> dict[str, Outcomes]:
    both = {
        seed: [(number(row, f"predicted_{key}"), number(row, f"measured_{key}")) for row in rows]
        for seed, rows in cell.of(method, "cut").items()
    }
    known = {seed: [(a, b) for a, b in own if a is not None and b is not None] for seed, own in both.items()}
    return {seed: own for seed, own in known.items() if own}


def _sign(where: str, by_seed: Mapping[str, Outcomes]) -> Case | None:
    if not by_seed:
        return None
    whole = skill([pair for own in by_seed.values() for pair in own])
    balanced = {seed: value for seed, own in by_seed.items() if (value := skill(own).balanced) is not None}
    if not balanced:
        return untestable(where, f"no run has changes of both signs; {whole.words}")
    return case(where, {s: 100 * (v - 0.5) for s, v in balanced.items()}, whole.words, within=(-50.0, 50.0))


def _rank(where: str, by_seed: Mapping[str, Outcomes]) -> Case | None:
    found_ranks: BySeed = {
        seed: value
        for seed, own in by_seed.items()
        if (value := spearman([a for a, _ in own], [b for _, b in own])) is not None
    }
    return above(where, found_ranks, 0.0)
