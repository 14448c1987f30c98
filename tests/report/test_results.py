"""The table of results: every number against a hand calculation."""

from __future__ import annotations

import math
import statistics

import pytest

from flowprune.report import markdown, table
from flowprune.report.spread import Spread, distinct, spread


def result(seed, accuracy, *, measure="magnitude", rounds=1, **more):
    about = {"kind": "result", "run": f"{measure}{rounds}{seed}", "dataset": "digits", "model": "small"}
    sparsity = 0.0 if measure == "dense" else 0.75
    own = {"measure": measure, "rounds": rounds, "sparsity": sparsity, "seed": seed, "test_accuracy_final": accuracy}
    return {**about, **own, **more}


def dense(seed, accuracy, **more):
    return result(seed, accuracy, measure="dense", rounds=0, **more)


def test_mean_and_sample_standard_deviation_over_seeds(rows):
    found = {(r.measure, r.rounds): r for r in table(rows)}
    own = [
        r["test_accuracy_final"]
        for r in rows
        if r["kind"] == "result" and (r["measure"], r["rounds"]) == ("biased_loss", 5)
    ]
    value = found["biased_loss", 5].final
    assert value.n == 3
    assert value.mean == pytest.approx(sum(own) / 3)
    assert value.std == pytest.approx(math.sqrt(sum((x - sum(own) / 3) ** 2 for x in own) / 2))


def test_eleven_configurations_dense_first_then_by_rounds_and_theory(rows):
    order = [(r.rounds, r.measure) for r in table(rows)]
    assert len(order) == 11
    assert order[:4] == [(0, "dense"), (1, "magnitude"), (1, "loss_preservation"), (1, "biased_loss")]
    assert [rounds for rounds, _ in order] == sorted(rounds for rounds, _ in order)


def test_verdict_says_beyond_only_where_the_spread_is_exceeded():
    def of(pruned):
        rows = [dense(s, a) for s, a in enumerate((0.98, 0.97, 0.99))]
        return table(rows + [result(s, a) for s, a in enumerate(pruned)])[1].verdict

    assert of((0.90, 0.91, 0.89)) == "−8.0 points, beyond the spread"
    assert of((0.97, 0.98, 0.96)) == "−1.0 points, within the spread"
    assert of((0.97,)) == "−1.0 points, spread unknown (n = 1)"


def test_the_rule_is_the_root_of_the_sum_of_squares():
    a = Spread(0.0, 3.0, 3)
    assert distinct(a, Spread(5.01, 4.0, 3)) is True
    assert distinct(a, Spread(4.99, 4.0, 3)) is False


def test_a_value_that_is_not_finite_lowers_its_own_n_and_no_other():
    found = table([result(0, 0.9, parameters=10), result(1, float("nan"), parameters=20)])[0]
    assert (found.final.n, found.final.std, found.runs) == (1, None, 2)
    assert found.parameters.n == 2


def test_latency_is_the_median_over_runs_and_keeps_its_conditions():
    more = [{"latency_ms": t, "latency_iqr_ms": t / 10, "latency_batch": 64, "latency_threads": 1} for t in (1, 3, 9)]
    found = table([result(s, 0.9, **own) for s, own in enumerate(more)])[0].latency
    assert (found.median, found.iqr, found.batch, found.threads) == (3, 0.3, "64", "1")


def test_studies_of_other_sparsities_share_their_dense_runs_and_no_more():
    rows = [dense(0, 0.9), result(0, 0.8), {**result(0, 0.7), "sparsity": 0.9, "run": "other"}]
    found = [(r.sparsity, r.measure, r.final.mean) for r in table(rows)]
    assert found == [(0.0, "dense", 0.9), (0.75, "magnitude", 0.8), (0.0, "dense", 0.9), (0.9, "magnitude", 0.7)]


def test_markdown_has_one_line_for_each_record_and_as_many_cells_as_columns(rows):
    lines = [line for line in markdown(rows).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 11
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert "multiply-add" in markdown(rows)
    assert "NaN" not in markdown(rows)


def test_one_seed_is_labelled():
    assert "n = 1" in markdown([result(0, 0.9)])


def test_spread_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="finite"):
        spread([1.0, float("inf")])
    assert spread([1.0, 4.0, 7.0]).std == statistics.stdev([1.0, 4.0, 7.0])


def test_runs_that_differ_in_more_than_their_seed_are_apart():
    """A spread is over seeds alone, and a pruned run is held against the dense runs trained as it was."""
    slow, fast = '{"train.learning_rate": 0.01}', '{"train.learning_rate": 0.1}'
    other = '{"train.learning_rate": 0.1, "prune.granularity": "weights"}'
    rows = [dense(s, 0.9, setting=fast) for s in (0, 1)] + [dense(s, 0.5, setting=slow) for s in (0, 1)]
    for setting, accuracy in ((slow, 0.4), (fast, 0.8), (other, 0.7)):
        rows += [result(s, accuracy, setting=setting, run=f"{setting}{s}") for s in (0, 1)]
    found = {(r.measure, r.setting): r for r in table(rows)}
    assert len(found) == 5
    assert {r.runs for r in found.values()} == {2}
    assert {r.final.std for r in found.values()} == {0.0}
    weights = found["magnitude", "train.learning_rate=0.1, prune.granularity=weights"]
    assert weights.verdict.startswith("−20.0 points")
    assert found["magnitude", "train.learning_rate=0.01"].verdict.startswith("−10.0 points")
    assert "magnitude (train.learning_rate=0.01)" in markdown(rows)
    alone = [r for r in table([*rows, result(0, 0.3, setting='{"train.batch": 1}')]) if "batch" in r.setting]
    assert [r.verdict for r in alone] == ["no dense run to compare with"]


def test_figures_keep_settings_apart():
    from flowprune.report.sentences import accuracy as sentence
    from flowprune.report.shapes import accuracy as shape

    rows = [
        {"kind": "epoch", "measure": m, "rounds": n, "epoch": 1, "seed": s, "test_accuracy": a, "setting": t}
        for m, n, a, t in (
            ("dense", 0, 0.9, '{"train.batch": 8}'),
            ("dense", 0, 0.6, '{"train.batch": 9}'),
            ("magnitude", 1, 0.5, '{"train.batch": 9}'),
        )
        for s in (0, 1)
    ]
    found = shape.accuracy(rows)
    assert [(c.config.name, c.last.std) for c in found.curves] == [
        ("dense, batch=8", 0.0),
        ("dense, batch=9", 0.0),
        ("magnitude, batch=9", 0.0),
    ]
    assert "10.0 points below dense" in sentence.say(found)
