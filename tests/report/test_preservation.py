"""Loss lost by pruning trained networks, accuracy after training them again, and what a paper claims of the two."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from random import Random

import pytest
from scipy.stats import spearmanr

from flowprune.core.interval import bootstrap_interval
from flowprune.experiments.studies import STUDIES
from flowprune.experiments.telling import settings
from flowprune.report.evidence import Evidence
from flowprune.report.figures import FIGURES
from flowprune.report.reproduction.preserving import PRESERVING, chosen
from flowprune.report.shapes.preservation import CHANGE, FINAL, preservation
from flowprune.report.tables import TABLES
from tests.report.studied import evidence as evidence_of

DOCS = Path(__file__).parents[2] / "docs"
MLP, VGG = "laurent2020-mlp-small", "laurent2020-vgg11-small"
BY_NAME = {claim.name: claim for claim in PRESERVING}


def kept(cut, rng):
    """ΔL that falls with stages, and for LM more; accuracy after that tells nothing of it."""
    start = {"magnitude": 2.0, "lm": 2.2, "qm": 1.6, "obd": 1.8}[cut.measure]
    gain = {1: 0.0, 14: 0.6, 140: 0.8}[cut.rounds] * (1.2 if cut.measure == "lm" else 1.0)
    return start - gain + 0.1 * abs(cut.step_penalty - 1e-2) + rng.gauss(0, 0.02)


def unrelated(cut, change, rng):
    return 0.88 + rng.gauss(0, 0.01)


def related(cut, change, rng):
    return 0.95 - 0.05 * change + rng.gauss(0, 0.0005)


def rows(name=MLP, *, change=kept, accuracy=unrelated, specs=None):
    """The rows of each run of a study, with made-up losses and accuracies."""
    specs = STUDIES[name].specs if specs is None else specs
    found = []
    for spec, setting in zip(specs, settings(specs), strict=True):
        about, rng = {**spec.columns, "setting": json.dumps(setting)}, Random(spec.run_id)
        cost = change(spec.prune, rng)
        end = accuracy(spec.prune, cost, rng)
        losses = {f"{split}_loss_{when}": 0.02 + cost * (when == "after")
                  for split in ("train", "valid", "test") for when in ("before", "after")}  # fmt: skip
        told = {"predicted_loss_change": 0.1, "measured_loss_change": cost, "test_accuracy_before": 0.94}
        if spec.prune.measure in ("qm", "obd"):
            told["predicted_loss_change_second"] = 0.8 * cost
        told["test_accuracy_after"] = 1 - cost / 3
        ends = {"test_accuracy_final": end, "test_accuracy_selected": end, "valid_accuracy_best": end + 0.001}
        found += [{**about, "kind": "pruned", **losses, **told}, {**about, "kind": "result", **ends}]
    return found


@pytest.fixture(scope="module")
def whole():
    return rows()


def test_each_way_to_prune_is_a_point_with_its_seeds(whole):
    found = preservation(whole)
    assert len(found.points) == 1 + 3 * 3 * 4
    assert found.penalties == (0.0, 1e-3, 1e-2, 1e-1)
    assert len(found.configs) == 1 + 3 * 3
    assert found.seeds == ("1111", "1112", "1113", "1114", "1115")
    one = next(p for p in found.points if (p.config.measure, p.config.rounds, p.penalty) == ("qm", 14, 0.01))
    own = [
        r for r in whole if (r["measure"], r["rounds"]) == ("qm", 14) and '"prune.step_penalty": 0.01' in r["setting"]
    ]
    after = {str(r["seed"]): r["train_loss_after"] - r["train_loss_before"] for r in own if r["kind"] == "pruned"}
    assert one.of(CHANGE) == after
    assert one.of(FINAL) == {str(r["seed"]): r["test_accuracy_final"] for r in own if r["kind"] == "result"}
    assert found.dense.mean == pytest.approx(0.94)


def test_correlations_are_those_of_scipy(whole):
    found = preservation(rows(accuracy=related))
    expected = {
        seed: spearmanr(
            [p.of(CHANGE)[seed] for p in found.points], [-p.of(FINAL)[seed] for p in found.points]
        ).statistic
        for seed in found.seeds
    }
    assert found.correlations() == pytest.approx(expected)
    means = [[statistics.fmean(p.of(n).values()) for p in found.points] for n in (CHANGE, FINAL)]
    between = found.between()
    assert between.mean == pytest.approx(-spearmanr(*means).statistic)
    assert between.low <= between.mean <= between.high
    assert found.within().low > 0.8
    assert abs(preservation(whole).within().mean) < 0.4


def test_a_bootstrap_over_few_and_many():
    assert bootstrap_interval(lambda drawn: None, 3).mean is None
    assert bootstrap_interval(lambda drawn: 1.0, 1)[:3] == (1.0, None, None)
    assert bootstrap_interval(lambda drawn: 1.0, 0).n == 0
    draws = [Random(0).gauss(0, 1) for _ in range(1)] + [Random(i).gauss(0, 1) for i in range(1, 100)]
    mean, low, high, n = bootstrap_interval(lambda drawn: statistics.fmean(draws[i] for i in drawn), 100)
    assert (high - low) == pytest.approx(2 * 1.96 * statistics.stdev(draws) / 10, rel=0.1)
    assert (low + high) / 2 == pytest.approx(mean, abs=0.05)
    again = bootstrap_interval(lambda drawn: statistics.fmean(draws[i] for i in drawn), 100)
    assert again == (mean, low, high, n)
    with pytest.raises(ValueError, match=r"bootstrap_interval\(confidence=\) must be in \(0, 1\); got 1.5"):
        bootstrap_interval(lambda drawn: 1.0, 2, confidence=1.5)
    with pytest.raises(ValueError, match=r"bootstrap_interval\(draws=\) must be >= 1; got 0"):
        bootstrap_interval(lambda drawn: 1.0, 2, draws=0)


def test_what_cannot_be_read_is_left_out_and_said():
    some = rows(specs=STUDIES[MLP].specs[:6])
    bad = [{**r, "train_loss_after": float("nan")} if r["seed"] == 1112 and r["kind"] == "pruned" else r for r in some]
    found = preservation(bad)
    assert "1112" not in found.seeds
    assert "train_loss_after is missing or not finite" in found.notes[0]
    assert preservation([r for r in some if r["kind"] == "result"]) is None
    assert preservation([r for r in some if r["kind"] == "pruned"]) is None


def verdicts(name, found):
    return [case.verdict for case in BY_NAME[name].cases(found)]


def test_stages_and_penalties_that_keep_the_loss_are_found(whole):
    assert verdicts("stages keep more of the loss", whole) == ["holds"] * 3
    assert BY_NAME["stages keep more of the loss"].cases(whole)[0].where.endswith("LM, 140 rounds − 1")
    worse = rows(change=lambda cut, rng: 1.0 + 0.01 * cut.rounds + rng.gauss(0, 0.01))
    assert verdicts("stages keep more of the loss", worse) == ["does not hold"] * 3
    helped = rows(change=lambda cut, rng: 1.0 - 0.5 * (cut.step_penalty == 1e-2) + rng.gauss(0, 0.02))
    cases = BY_NAME["a step penalty keeps more of the loss"].cases(helped)
    assert {case.verdict for case in cases} == {"holds"}
    assert {case.note for case in cases} == {"λ = 0.01"}
    assert len(cases) == 9  # magnitude has no penalty
    harmed = rows(change=lambda cut, rng: 1.0 + 0.5 * (cut.step_penalty > 0) + rng.gauss(0, 0.02))
    assert set(verdicts("a step penalty keeps more of the loss", harmed)) == {"does not hold"}


def test_orders_are_alike_within_the_margin_alone():
    def change(gap):
        return lambda cut, rng: 2.0 + (gap if cut.measure == "lm" else 0.0) + rng.gauss(0, 0.01)

    name = "both orders keep as much of the loss"
    assert verdicts(name, rows(change=change(0.05))) == ["holds"]
    assert verdicts(name, rows(change=change(0.5))) == ["does not hold"]
    assert verdicts(name, rows(change=change(-0.5))) == ["does not hold"]
    assert verdicts(name, rows(change=change(0.2))) == ["undecided"]
    after = "both orders end at as high an accuracy"
    assert verdicts(after, rows(accuracy=lambda cut, cost, rng: 0.9 + rng.gauss(0, 0.001))) == ["holds"]
    better = rows(accuracy=lambda cut, cost, rng: 0.9 + 0.03 * (cut.measure == "qm") + rng.gauss(0, 0.001))
    assert verdicts(after, better) == ["does not hold"]


def test_whether_the_loss_tells_the_end_is_found(whole):
    name, beaten = (
        "loss kept does not tell what is found after training",
        "the way that keeps most of the loss is beaten",
    )
    assert verdicts(name, whole)[0] == "holds"
    tells = rows(accuracy=related)
    assert verdicts(name, tells)[0] == "does not hold"
    assert verdicts(beaten, tells) != ["holds"]
    reverse = rows(accuracy=lambda cut, cost, rng: 0.8 + 0.05 * cost + rng.gauss(0, 0.0005))
    assert verdicts(name, reverse) == ["holds"] * 2
    assert verdicts(beaten, reverse) == ["holds"]


def test_a_choice_never_sees_the_seed_that_it_is_judged_by(whole):
    points = preservation(whole).points
    choice = chosen(points, CHANGE)
    for seed, point in choice.items():
        others = [statistics.fmean(v for s, v in p.of(CHANGE).items() if s != seed) for p in points]
        assert points[others.index(min(others))] is point
    assert chosen([], CHANGE) == {}
    alone = preservation([row for row in whole if row["seed"] == 1111]).points
    assert chosen(alone, CHANGE) == {}
    assert all(case.verdict == "undecided" for claim in PRESERVING for case in claim.cases(
        [row for row in whole if row["seed"] == 1111]))  # fmt: skip


def test_claims_are_of_each_network_apart():
    both = [*rows(), *rows(VGG)]
    for claim in PRESERVING:
        named = {case.where.partition(",")[0].partition(" (")[0] for case in claim.cases(both)}
        assert named == {"mlp on mnist", "vgg11_plain on cifar10"}, claim.name
        assert claim.cases([]) == []


def test_the_table_and_the_figure_tell_measure_stages_and_penalty(whole):
    grid = TABLES["preservation"].of(whole)
    assert len(grid.lines) == 37
    lines = {(str(line[3]), str(line[4])) for line in grid.lines}
    assert ("QM (140 rounds)", "0.01") in lines
    assert ("magnitude (1 round)", "0") in lines
    second = grid.columns.index("predicted, second order")
    assert {str(line[second]) == "–" for line in grid.lines if str(line[3]).startswith("LM")} == {True}
    drawn = FIGURES["preservation"].of(whole)
    axes = drawn.draw("wide").axes
    assert len(axes) == 3
    assert "(0, 0.001, 0.01, 0.1)" in drawn.caption
    assert "costs least" in drawn.sentence
    assert len(FIGURES["preservation"].of([r for r in whole if r["measure"] == "lm"]).draw("narrow").axes) == 2


def test_the_page_is_what_is_stored(generator):
    path, text = DOCS / "loss_models.md", generator.loss_models()
    assert path.exists() == bool(text)
    if text:
        assert path.read_text() == text
        assert all((DOCS / each).exists() for each in (f"images/{MLP}.svg",) if each in text)


def test_a_page_without_rows_is_none_and_one_study_is_enough(generator, whole):
    made = generator.loss_models_page.page
    assert made(lambda name: Evidence(())) == ""
    stored = {MLP: evidence_of(whole)}
    text = made(lambda name: stored.get(name, Evidence(())))
    assert "185 of 185 runs are stored." in text
    assert "0 of 110 runs are stored." in text
    assert "No run of the study is stored yet." in text
    assert f"![Loss lost by pruning against accuracy after training again](images/{MLP}.svg)" in text
    assert f"images/{VGG}.svg" not in text
    for claim in PRESERVING:
        assert f"### {claim.name}\n" in text
    assert "410 runs each" in text
    spec = STUDIES[VGG].specs[0]
    errors = {VGG: {spec.run_id: "A layer must keep something; it is empty. Ask for less."}}
    text = made(lambda name: stored.get(name, Evidence(())), lambda name: errors.get(name, {}))
    assert f"seed {spec.seed}: A layer must keep something; it is empty." in text
