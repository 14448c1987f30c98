"""The paper's claims against fabricated rows whose answer is known."""

from __future__ import annotations

import json

import pytest

from flowprune.core.interval import student_interval
from flowprune.report.reproduction import CLAIMS, Case, markdown
from flowprune.report.reproduction.case import difference
from flowprune.report.reproduction.page import _anchor
from tests.report.claimed import BY_NAME, dense, finals, pruned, verdicts


@pytest.mark.parametrize(
    ("magnitude", "loss", "expected"),
    [(0.9, 0.8, "holds"), (0.7, 0.8, "does not hold")],
)
def test_table_1_compares_seed_by_seed(magnitude, loss, expected):
    rows = finals(magnitude=magnitude, loss_preservation=loss)
    assert verdicts("magnitude ends higher", rows) == [
        ("vgg13 on cifar10, 75 % of channels removed, 5 rounds", expected)
    ]
    (found,) = BY_NAME["magnitude ends higher"].cases(rows)
    assert found.interval.mean == pytest.approx(100 * (magnitude - loss))
    assert found.interval.n == 3


def test_a_difference_within_its_interval_is_undecided_and_one_seed_has_no_verdict():
    rows = [pruned("result", "magnitude", s, test_accuracy_final=v) for s, v in enumerate((0.8, 0.9, 0.7))]
    rows += [pruned("result", "loss_preservation", s, test_accuracy_final=0.79) for s in range(3)]
    assert verdicts("magnitude ends higher", rows)[0][1] == "undecided"
    assert verdicts("magnitude ends higher", [r for r in rows if r["seed"] == 1])[0][1] == "undecided"
    assert difference({"0": 1.0, "1": 2.0}, {"1": 0.5, "2": 0.0}) == {"1": 1.5}


def test_temperatures_tell_methods_apart():
    rows = finals(gradient_norm_preservation=0.8, gradient_norm_increase=0.9)
    rows += [
        pruned("result", "gradient_norm_increase", s, temperature=1.0, test_accuracy_final=0.5 + 0.001 * s)
        for s in range(3)
    ]
    assert verdicts("preservation beats increase (T = 200)", rows)[0][1] == "does not hold"
    assert verdicts("preservation beats increase (T = 1)", rows)[0][1] == "holds"


def test_convergence_counts_the_epochs_after_the_last_cut():
    rows = []
    for seed in range(3):
        for measure, late in (("magnitude", 0.8), ("loss_preservation", 0.6)):
            rows += [pruned("cut", measure, seed, epoch=e, round=e) for e in (1, 2)]
            accuracies = {1: 0.0, 2: 1.0, 3: late, 4: late + 0.01 * seed}
            rows += [pruned("epoch", measure, seed, epoch=e, train_accuracy=a) for e, a in accuracies.items()]
    (found,) = BY_NAME["magnitude converges faster"].cases(rows)
    assert found.interval.mean == pytest.approx(20.0)
    assert found.where.endswith("train accuracy")
    tested = [{**row, "test_accuracy": 0.5 * row["train_accuracy"], "train_loss": 1 - row["train_accuracy"]}
              for row in rows if row["kind"] == "epoch"] + [row for row in rows if row["kind"] == "cut"]  # fmt: skip
    both = BY_NAME["magnitude converges faster"].cases(tested)
    assert [(c.where.rpartition(", ")[2], round(c.interval.mean, 6)) for c in both] == [
        ("train accuracy", 20.0), ("test accuracy", 10.0)
    ]  # fmt: skip
    (loss,) = BY_NAME["the loss falls faster under magnitude"].cases(tested)
    assert loss.interval.mean == pytest.approx(0.2)


def test_the_bias_and_the_second_order_are_compared_with_their_own_counterparts():
    rows = finals(biased_loss=0.7, loss_preservation=0.8, magnitude=0.9)
    assert verdicts("the bias helps", rows)[0][1] == "does not hold"
    once = [{**row, "rounds": 1} for row in rows]
    assert verdicts("loss preservation suits networks that were hardly trained", rows) == []
    assert verdicts("loss preservation suits networks that were hardly trained", once)[0][1] == "does not hold"
    means = {"magnitude": 0.8, "gradient_norm_preservation": 0.9}
    trained = [
        pruned("epoch", measure, s, epoch=2, train_accuracy=value + 0.001 * s * (measure == "magnitude"))
        for measure, value in means.items()
        for s in range(3)
    ]
    (found,) = BY_NAME["magnitude converges faster than the second order"].cases(trained)
    assert (found.where.rpartition(", ")[2], found.verdict) == ("grad-norm preservation (T = 1)", "does not hold")
    trained += [pruned("epoch", "gradient_norm_increase", s, epoch=2, train_accuracy=0.7) for s in range(3)]
    (better,) = BY_NAME["preservation trains better"].cases(trained)
    assert (better.where.rpartition(", ")[2], round(better.interval.mean)) == ("increase at T = 200", 20)


def test_runs_that_differ_in_another_field_are_never_mixed_into_one_seed():
    rows = finals(magnitude=0.9, loss_preservation=0.8)
    batch = json.dumps({"train.batch": 32})
    others = [{**row, "setting": batch, "test_accuracy_final": 1 - row["test_accuracy_final"]} for row in rows]
    for found in (rows + others, others + rows):
        assert sorted(verdicts("magnitude ends higher", found)) == [
            ("vgg13 on cifar10, 75 % of channels removed, 5 rounds", "holds"),
            ("vgg13 on cifar10, 75 % of channels removed, 5 rounds, train.batch=32", "does not hold"),
        ]


RATES = {1: 0.1, 2: 0.1, 3: 0.1, 4: 0.01, 30: 0.01}
FORMS = ("Spearman", "Pearson", "Spearman within layers", "Pearson within layers")


def learning_rates(seeds=3):
    return [dense("epoch", s, run=f"d{s}", epoch=e, learning_rate=r) for s in range(seeds) for e, r in RATES.items()]


def correlations(values, key="spearman", layers=None, seeds=3):
    """Correlations by epoch over all units, and ``layers`` in each of two; seeds a little apart."""
    return [
        dense("correlation", s, epoch=e, a="magnitude", b="loss_preservation", layer=layer, **{key: v + 0.001 * s})
        for s in range(seeds)
        for layer, track in (("", values), ("features.0", layers or {}), ("features.1", layers or {}))
        for e, v in track.items()
    ]


def shapes(rows):
    names = ("unrelated before training", "related soon", "less related until the learning rate falls",
             "more related after the learning rate falls", "related more and more")  # fmt: skip
    return [{where.partition(", ")[2]: verdict for where, verdict in verdicts(name, rows)} for name in names]


def test_the_shape_of_the_correlation_is_that_of_the_papers_figure():
    rows = learning_rates() + correlations({0: 0.1, 1: 0.6, 3: 0.4, 4: 0.8, 30: 0.9})
    assert shapes(rows) == [{"Spearman": "holds"}] * 5


def test_a_correlation_that_never_sags_or_never_rises_is_said_not_to_hold():
    rising = learning_rates() + correlations({0: 0.1, 1: 0.5, 3: 0.8, 4: 0.85, 30: 0.9})
    assert shapes(rising)[2] == {"Spearman": "does not hold"}
    falling = learning_rates() + correlations({0: 0.6, 1: 0.5, 3: 0.5, 4: 0.4, 30: 0.4})
    found = shapes(falling)
    assert [each["Spearman"] for each in (found[0], found[1], found[3], found[4])] == ["does not hold"] * 4


def test_every_form_of_the_correlation_is_tested_as_the_paper_does_not_say_which_it_used():
    up, down = {0: 0.0, 1: 0.3, 30: 0.8}, {0: 0.0, 1: 0.8, 30: 0.3}
    rows = correlations(up, layers=down) + correlations(down, "pearson", layers=up)
    assert shapes(rows)[4] == dict(zip(FORMS, ("holds", "does not hold", "does not hold", "holds"), strict=True))


def test_intervals_of_correlations_stay_within_what_is_possible():
    rows = [dense("scatter", s, epoch=3, temperature=1.0, spearman=v, pearson=v) for s, v in enumerate((0.6, 0.9, 0.7))]
    found = BY_NAME["θ·g and θ·Hg go together"].cases(rows)
    assert [case.where for case in found] == [f"vgg13 on cifar10, epoch 3, T = 1, {form}" for form in FORMS[:2]]
    assert all(-1 < case.interval.low < case.interval.high < 1 for case in found)


def test_alignment_is_tested_at_both_temperatures_and_nearly_along_asks_for_more_than_a_sign():
    values = {(0, 1.0): 0.14, (3, 1.0): 0.9, (3, 200.0): -0.7}
    rows = [
        dense("scatter", s, epoch=e, temperature=t, spearman=v + 0.001 * s)
        for s in range(3)
        for (e, t), v in values.items()
    ]
    told = {where.partition(", ")[2]: verdict for where, verdict in verdicts("θ·g and θ·Hg go together", rows)}
    assert told == {
        "epoch 0, T = 1, Spearman": "holds",
        "epoch 3, T = 1, Spearman": "holds",
        "epoch 3, T = 200, Spearman": "does not hold",
    }
    told = {where.partition(", ")[2]: verdict for where, verdict in verdicts("Hg is nearly along g", rows)}
    assert list(told.values()) == ["does not hold", "holds", "does not hold"]


def test_networks_are_compared_on_one_data_set():
    other = [{**row, "model": "mobilenet_v1", "spearman": 0.4 + 0.002 * row["seed"]} for row in correlations({30: 0.0})]
    name = "more related in VGG-13 than in MobileNet-V1"
    assert verdicts(name, correlations({30: 0.7}) + other) == [("cifar10, Spearman", "holds")]
    assert verdicts(name, correlations({30: 0.1}) + other) == [("cifar10, Spearman", "does not hold")]
    assert verdicts(name, correlations({30: 0.7}) + [{**row, "dataset": "cifar100"} for row in other]) == []


def distances(of, *values, to="previous"):
    """The mask distance after epochs 2, 3 (the last before the learning rate falls) and 4, for each of three seeds."""
    return [
        dense("mask_distance", s, epoch=e, of=of, to=to, distance=v + 0.001 * s * (v > 0))
        for s in range(3)
        for e, v in zip((2, 3, 4), values, strict=True)
    ]


@pytest.mark.parametrize("of", ["magnitude", "loss_preservation"])
@pytest.mark.parametrize(
    ("values", "settle", "stand"),
    [
        ((0.9, 0.5, 0.01), "holds", "holds"),
        ((0.9, 0.3, 0.2), "holds", "does not hold"),
        ((0.9, 0.2, 0.3), "does not hold", "does not hold"),
        ((0.9, 0.0, 0.0), "does not hold", "holds"),  # it stood still before: nothing settled there
    ],
)
def test_masks_settle_at_the_drop_where_their_distance_falls_there(of, values, settle, stand):
    rows = learning_rates() + distances(of, *values) + distances(of, *values, to="final")
    for name, expected in (
        ("masks settle where the learning rate falls", settle),
        ("masks stand still after the learning rate fell", stand),
    ):
        told = dict(verdicts(name, rows))
        assert [where.rpartition(", ")[2] for where in told] == ["to the one before", "to the final one"]
        # The last seeds differ by a thousandth where a distance is not 0.
        assert set(told.values()) == {expected}
    assert verdicts("masks settle where the learning rate falls", rows[len(learning_rates()) :]) == []


def test_the_page_counts_verdicts_and_names_what_no_row_bears_on():
    page = markdown(finals(magnitude=0.9, loss_preservation=0.8))
    assert "| [magnitude ends higher](#magnitude-ends-higher) | 1 | 0 | 0 | 0 |" in page
    assert "No rows bear on: magnitude converges faster; the loss falls faster under magnitude;" in page
    assert "the bias helps;" in page
    assert "| vgg13 on cifar10, 75 % of channels removed, 5 rounds | 10.0 |" in page
    assert _anchor("preservation beats increase (T = 200)") == "preservation-beats-increase-t--200"


def test_no_rows_no_claims():
    assert markdown([]).startswith("| claim | holds |")
    assert Case("nowhere", student_interval([1.0])).verdict == "undecided"
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
