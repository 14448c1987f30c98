"""Rows to records: counting, averaging, and telling what was left out."""

from __future__ import annotations

import pytest

from flowprune.report.ranks import spearman
from flowprune.report.shapes.accuracy import accuracy
from flowprune.report.shapes.agreement import agreement
from flowprune.report.shapes.collapse import collapse
from flowprune.report.shapes.cuts import by_size, cuts, fit
from flowprune.report.shapes.flow import flow, match
from flowprune.report.shapes.layers import layers
from flowprune.report.shapes.runs import Config
from flowprune.report.shapes.tradeoff import tradeoff
from flowprune.report.values import finite

SHAPES = {
    "epoch": accuracy,
    "flow": flow,
    "cut": cuts,
    "agreement": agreement,
    "layer": layers,
    "collapse": collapse,
    "result": tradeoff,
}


def without(rows, kind):
    """The rows of other kinds; layers are told by two."""
    return [row for row in rows if row["kind"] not in (kind, f"collapse_{kind}")]


@pytest.mark.parametrize("kind", SHAPES)
def test_records_need_only_their_own_kind_of_row(rows, kind):
    assert SHAPES[kind]([row for row in rows if row["kind"] == kind]) is not None
    assert SHAPES[kind](without(rows, kind)) is None
    assert SHAPES[kind]([]) is None


@pytest.mark.parametrize("kind", SHAPES)
def test_records_do_not_depend_on_the_order_of_runs(rows, kind):
    runs = sorted({row["run"] for row in rows}, reverse=True)
    turned = [row for run in runs for row in rows if row["run"] == run]
    one, other = SHAPES[kind](rows), SHAPES[kind](turned)
    if kind == "epoch":
        assert [c.config for c in one.curves] == [c.config for c in other.curves]
        assert one.curves[3].last.mean == pytest.approx(other.curves[3].last.mean)
    elif kind == "cut":
        assert fit(one.loss).rank == pytest.approx(fit(other.loss).rank)
    elif kind == "flow":
        assert match(one.velocity) == match(other.velocity)
    elif kind == "collapse":
        assert one.configs.keys() == other.configs.keys()
        assert {each.words for each in one.warnings} == {each.words for each in other.warnings}
    elif kind == "layer":
        assert one.names == other.names
    elif kind == "agreement":
        assert one.spearman.keys() == other.spearman.keys()
    else:
        assert [p.config for p in one.axes[0].points] == [p.config for p in other.axes[0].points]


def test_curves_cuts_and_panels(rows):
    found = accuracy(rows)
    assert found.rounds == (1, 5)
    assert found.cuts == {1: (1,), 5: (1, 2, 3, 4, 5)}
    assert [len(found.panel(rounds)) for rounds in found.rounds] == [6, 6]
    assert all(value.n == 3 for curve in found.curves for value in curve.values)


def test_a_value_that_is_not_finite_is_left_out_and_told(rows):
    epoch = next(row for row in rows if row["kind"] == "epoch" and row["measure"] == "magnitude")
    broken = [{**row, "test_accuracy": float("nan")} if row is epoch else row for row in rows]
    found = accuracy(broken)
    assert "test_accuracy is missing or not finite in 1 of 660 rows" in found.notes[0]
    assert epoch["run"][:8] in found.notes[0]
    assert min(value.n for curve in found.curves for value in curve.values) == 2


def test_missing_and_infinite_values_are_told_by_key():
    kept, notes = finite([{"a": 1.0, "b": None}, {"a": float("inf"), "b": 2.0}], "a", "b")
    assert kept == []
    assert [note.split()[0] for note in notes] == ["a", "b"]


def test_matching_derivatives_are_told_by_quantiles():
    rows = [
        {"kind": "flow", "measure": "dense", "epoch": e, "norm2": 1.0, "velocity": 1.0 + e, "measured_velocity": 1.0}
        for e in (0, 0.1, -0.2)
    ]
    found = match(flow(rows).velocity)
    assert found.n == 3
    assert found.median_error == pytest.approx(0.1)
    assert found.same_sign == 1.0


def test_cuts_are_split_by_size_at_the_median(rows):
    found = cuts(rows)
    middle, small, big = by_size(found.loss)
    assert len(small) + len(big) == len(found.loss) == 90
    assert max(cut.share for cut in small) < middle <= min(cut.share for cut in big)


def test_rank_correlation_agrees_with_its_definition():
    a, b = [3.0, 1.0, 2.0, 2.0], [30.0, 10.0, 25.0, 20.0]
    # Ranks 4, 1, 2.5, 2.5 and 4, 1, 3, 2: Pearson of these is 4.5 / sqrt(4.5 * 5).
    assert spearman(a, b) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)


def test_agreement_counts_seeds_not_runs(rows):
    found = agreement(rows)
    assert {value.n for value in found.spearman.values()} == {3}
    assert len(found.spearman) == len(found.overlap) == 10
    assert found.chance == pytest.approx(0.25)


def test_layers_are_those_of_the_last_round(rows):
    found = layers(rows)
    assert found.names[0] == "stem.conv"
    own = found.configs[Config(5, "magnitude")]
    last = [r for r in rows if r["kind"] == "layer" and r["measure"] == "magnitude" and r["round"] == 5]
    first = sorted(r["kept"] / r["units"] for r in last if r["layer"] == "stem.conv")
    assert sorted(own[0].shares) == pytest.approx(first)
    total = sum(r["kept"] for r in last) / sum(r["units"] for r in last)
    assert found.overall(Config(5, "magnitude")) == pytest.approx(total)


def test_unbeaten_points_are_better_in_one_mean_than_any_other():
    base = {"kind": "result", "rounds": 1, "sparsity": 0.5, "dataset": "d", "model": "m", "seed": 0}
    rows = [
        {**base, "run": name, "measure": name, "test_accuracy_final": a, "parameters": p}
        for name, a, p in (("a", 0.9, 100), ("b", 0.8, 50), ("c", 0.8, 90))
    ]
    axis = tradeoff(rows).axes[0]
    assert {point.config.measure for point in axis.unbeaten()} == {"a", "b"}


def test_masked_weights_are_sized_by_what_is_not_zero():
    row = {"kind": "result", "measure": "magnitude", "rounds": 1, "sparsity": 0.9, "test_accuracy_final": 0.9}
    row |= {"parameters": 100, "parameters_dense": 100, "nonzeros": 10}
    axis = tradeoff([row]).axes[0]
    assert (axis.key, axis.points[0].cost.mean, axis.dense) == ("nonzeros", 10.0, 100.0)
