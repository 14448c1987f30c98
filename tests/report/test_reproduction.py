"""The paper's claims against fabricated rows whose answer is known."""

from __future__ import annotations

import json

import pytest

from flowprune.core.interval import student_interval
from flowprune.report.reproduction import CLAIMS, Case, markdown
from flowprune.report.reproduction.case import difference
from flowprune.report.reproduction.page import _anchor

BY_NAME = {claim.name: claim for claim in CLAIMS}
WHERE = {"model": "vgg13", "dataset": "cifar10"}


def pruned(kind, measure, seed, rounds=5, temperature=None, **fields):
    setting = json.dumps({"prune.temperature": temperature}) if temperature else None
    base = {"measure": measure, "rounds": rounds, "sparsity": 0.75, "granularity": "channels", "seed": seed}
    return {"kind": kind, **WHERE, **base, "setting": setting, **fields}


def dense(kind, seed, **fields):
    return {
        "kind": kind,
        **WHERE,
        "measure": "dense",
        "rounds": 0,
        "sparsity": 0.0,
        "granularity": "",
        "seed": seed,
        **fields,
    }


def finals(**accuracies):
    """Three seeds of each measure, whose accuracies lie a little apart."""
    return [
        pruned("result", measure, seed, test_accuracy_final=value + 0.001 * seed)
        for measure, value in accuracies.items()
        for seed in range(3)
    ]


def verdicts(name, rows):
    return [(case.where, case.verdict) for case in BY_NAME[name].cases(rows)]


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


def correlations(values, seeds=3):
    return [
        dense(
            "correlation", s, epoch=e, a="magnitude", b="loss_preservation", layer=layer, spearman=v + 0.001 * s + shift
        )
        for s in range(seeds)
        for e, v in values.items()
        for layer, shift in (("", 0.0), ("features.0.weight", 5.0))
    ]


def test_the_shape_of_the_correlation_is_read_globally():
    rows = correlations({0: 0.1, 3: 0.5, 30: 0.9})
    assert verdicts("unrelated before training", rows) == [("vgg13 on cifar10", "holds")]
    assert verdicts("related soon", rows)[0][1] == verdicts("related more and more", rows)[0][1] == "holds"
    falling = correlations({0: 0.6, 3: 0.5, 30: 0.4})
    names = ("unrelated before training", "related soon", "related more and more")
    assert {verdicts(name, falling)[0][1] for name in names} == {"does not hold"}


@pytest.mark.parametrize(("distance", "expected"), [(0.01, "holds"), (0.3, "does not hold")])
def test_masks_settle_at_the_first_record_after_the_drop(distance, expected):
    rates = {1: 0.1, 2: 0.1, 3: 0.01, 4: 0.01}
    rows = [dense("epoch", s, epoch=e, learning_rate=r) for s in range(3) for e, r in rates.items()]
    for seed in range(3):
        values = {2: 0.9, 3: distance + 0.001 * seed, 4: 0.0}
        rows += [
            dense("mask_distance", seed, epoch=e, of="magnitude", to="previous", distance=d) for e, d in values.items()
        ]
    assert verdicts("magnitude masks settle at the drop", rows)[0][1] == expected


def test_early_layers_are_the_first_third():
    rows = []
    kept = {"gradient_norm_preservation": (9, 9, 5, 5, 5, 5), "gradient_norm_increase": (1, 1, 5, 5, 5, 5)}
    for seed in range(3):
        for measure, counts in kept.items():
            rows += [
                pruned("layer", measure, seed, round=5, layer=f"l{i}", units=10, kept=k + (seed == 1) * (i == 5))
                for i, k in enumerate(counts)
            ]
            rows += [pruned("layer", measure, seed, round=1, layer="l0", units=10, kept=10)]
    (found,) = BY_NAME["increase cuts early layers"].cases(rows)
    assert found.interval.mean == pytest.approx(80.0)
    assert found.verdict == "holds"


def test_flow_and_signs():
    rows = [dense("flow", s, epoch=e, velocity=1.0, measured_velocity=1.0, acceleration=2.0, measured_acceleration=1.0)
            for s in range(3) for e in (0, 1)]  # fmt: skip
    assert verdicts("the norm moves as predicted", rows) == [
        ("E3, vgg13 on cifar10", "holds"), ("E4, vgg13 on cifar10", "does not hold")
    ]  # fmt: skip
    cuts = [
        pruned("cut", "magnitude", s, round=r, predicted_loss_change=1.0, measured_loss_change=float(7 - 2 * r))
        for s in range(3)
        for r in (1, 2, 3, 4)
    ]
    (found,) = BY_NAME["the loss changes as predicted"].cases(cuts)
    assert found.interval.mean == pytest.approx(25.0)


def test_the_page_counts_verdicts_and_names_what_no_row_bears_on():
    page = markdown(finals(magnitude=0.9, loss_preservation=0.8))
    assert "| [magnitude ends higher](#magnitude-ends-higher) | 1 | 0 | 0 |" in page
    assert "No rows bear on: magnitude converges faster, the bias helps" in page
    assert "| vgg13 on cifar10, 75 % of channels removed, 5 rounds | 10.0 |" in page
    assert _anchor("preservation beats increase (T = 200)") == "preservation-beats-increase-t--200"


def test_no_rows_no_claims():
    assert markdown([]).startswith("| claim | holds |")
    assert Case("nowhere", student_interval([1.0])).verdict == "undecided"
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
