"""Stages that are sized as one goes, in tables and claims: made-up rows of the study's own runs."""

from __future__ import annotations

import json
from random import Random

import pytest

from flowprune.experiments.studies import STUDIES
from flowprune.experiments.telling import settings
from flowprune.report.evidence import Evidence
from flowprune.report.reproduction.adapting import ADAPTING
from flowprune.report.reproduction.preserving import PRESERVING
from flowprune.report.shapes.preservation import preservation
from flowprune.report.tables import TABLES
from tests.report.studied import evidence as evidence_of

STUDY = "laurent2020-mlp-adaptive"
BY_NAME = {claim.name: claim for claim in (*ADAPTING, *PRESERVING)}


def tolerance(cut):
    return cut.schedule_options.get("tolerance")


def rows(*, cost, predicted=lambda cut, value: 0.95 * value, stages=lambda cut: 20, specs=None):
    """The rows of each run, with what its pruning costs, what was predicted of that, and how many stages it took."""
    found, specs = [], STUDIES[STUDY].specs if specs is None else specs
    for spec, setting in zip(specs, settings(specs), strict=True):
        cut, rng = spec.prune, Random(spec.run_id)
        about = {**spec.columns, "setting": json.dumps(setting)}
        value = cost(cut) + rng.gauss(0, 0.01)
        losses = {f"{split}_loss_{when}": 0.02 + value * (when == "after")
                  for split in ("train", "valid", "test") for when in ("before", "after")}  # fmt: skip
        told = {"measured_loss_change": value, "stages": cut.rounds, "test_accuracy_before": 0.94}
        if tolerance(cut) is not None:
            sized = {"stages": stages(cut), "stages_within": stages(cut) - 1, "stage_trials": 90}
            told |= {**sized, "stage_tolerance": tolerance(cut), "stage_predicted": predicted(cut, value)}
        ends = {"test_accuracy_final": 1 - 0.1 * value, "valid_accuracy_best": 0.9}
        found += [{**about, "kind": "pruned", **losses, **told}, {**about, "kind": "result", **ends}]
    return found


def verdicts(name, found):
    return {case.verdict for case in BY_NAME[name].cases(found)}


def test_adaptive_points_are_told_from_those_of_a_fixed_pace():
    points = preservation(rows(cost=lambda cut: 1.0)).points
    assert sorted(p.tolerance for p in points if p.tolerance is not None) == [0.1] * 3 + [0.3] * 3
    names = [str(p.config) for p in points if p.config.measure == "qm"]
    assert names == [
        "QM (1 round)",
        "QM (14 rounds)",
        "QM, adaptive, tolerance = 0.1, whole Hessian (at most 140 rounds)",
        "QM, adaptive, tolerance = 0.3, whole Hessian (at most 140 rounds)",
        "QM (140 rounds)",
    ]


def test_a_diagonal_and_a_whole_hessian_have_two_names():
    base = STUDIES[STUDY].specs[-1]
    diagonal = base.model_copy(update={"prune": base.prune.model_copy(update={"schedule_options": {"tolerance": 0.3}})})
    names = {str(p.config) for p in preservation(rows(cost=lambda cut: 1.0, specs=[base, diagonal])).points}
    assert len(names) == 2


def test_where_all_are_adaptive_they_are_said_to_be():
    specs = [spec for spec in STUDIES[STUDY].specs if tolerance(spec.prune) == 0.1]
    names = {str(p.config) for p in preservation(rows(cost=lambda cut: 1.0, specs=specs)).points}
    assert names == {f"{m}, adaptive (at most 140 rounds)" for m in ("LM", "OBD", "QM")}


def test_whether_all_stages_together_are_predicted_is_found():
    name = "adaptive stages tell what they cost"
    assert verdicts(name, rows(cost=lambda cut: 1.0)) == {"holds"}
    off = rows(cost=lambda cut: 1.0, predicted=lambda cut, value: 1.5 * value)
    assert verdicts(name, off) == {"does not hold"}
    case = BY_NAME[name].cases(rows(cost=lambda cut: 1.0))[0]
    assert case.interval.mean == pytest.approx(0.1 - 0.05)
    assert case.note == "20.0 stages, 19.0 of them within it"


@pytest.mark.parametrize(("stages", "pace"), [(7, 1), (14, 14), (20, 14), (140, 140)])
def test_they_are_beside_the_most_of_a_fixed_pace_that_are_no_more(stages, pace):
    better = rows(cost=lambda cut: 1.0 if tolerance(cut) else 1.5, stages=lambda cut: stages)
    cases = BY_NAME["adaptive stages keep more of the loss"].cases(better)
    assert {case.verdict for case in cases} == {"holds"}
    assert len(cases) == 6
    assert all(case.where.endswith(f"− {pace} of a fixed pace") for case in cases)
    assert verdicts("adaptive stages end at a higher accuracy", better) == {"holds"}
    worse = rows(cost=lambda cut: 2.0 if tolerance(cut) else 1.5, stages=lambda cut: stages)
    assert verdicts("adaptive stages keep more of the loss", worse) == {"does not hold"}
    assert verdicts("adaptive stages end at a higher accuracy", worse) == {"does not hold"}


def test_the_claims_of_the_paper_are_of_a_fixed_pace():
    found = rows(cost=lambda cut: 3.0 if tolerance(cut) else 2.0 - 0.01 * cut.rounds)
    cases = BY_NAME["stages keep more of the loss"].cases(found)
    assert {case.where.partition(", ")[2] for case in cases} == {f"{m}, 140 rounds − 1" for m in ("LM", "OBD", "QM")}
    assert all(case.interval.mean == pytest.approx(1.39, abs=0.02) for case in cases)


def test_another_penalty_is_no_pace_to_compare_with():
    specs = [
        spec.model_copy(update={"prune": spec.prune.model_copy(update={"step_penalty": 0.1})})
        if tolerance(spec.prune)
        else spec
        for spec in STUDIES[STUDY].specs
    ]
    assert BY_NAME["adaptive stages keep more of the loss"].cases(rows(cost=lambda cut: 1.0, specs=specs)) == []


def test_the_table_has_their_columns_where_there_are_any():
    grid = TABLES["preservation"].of(rows(cost=lambda cut: 1.0))
    told = ("stages", "of them within the tolerance", "sizes tried", "predicted, by their own model")
    assert grid.columns[5:9] == told
    lines = {str(line[3]): [cell.main for cell in line[5:9]] for line in grid.lines}
    assert lines["LM (14 rounds)"] == ["14.0 ± 0", "–", "–", "–"]
    assert lines["LM, adaptive, tolerance = 0.1, whole Hessian (at most 140 rounds)"][:3] == ["20.0 ± 0", "19.0 ± 0", "90.0 ± 0"]  # fmt: skip  # noqa: E501
    fixed = [spec for spec in STUDIES[STUDY].specs if not tolerance(spec.prune)]
    assert "stages" not in TABLES["preservation"].of(rows(cost=lambda cut: 1.0, specs=fixed)).columns


def test_the_page_has_a_section_of_them(generator):
    made, found = generator.loss_models_page.page, rows(cost=lambda cut: 1.0)
    from tests.report.test_preservation import MLP
    from tests.report.test_preservation import rows as main_rows

    stored = {STUDY: evidence_of(found), MLP: evidence_of(main_rows())}
    text = made(lambda name: stored.get(name, Evidence(())))
    assert "## Stages as large as the model allows" in text
    for claim in ADAPTING:
        assert f"### {claim.name}\n" in text
    del stored[STUDY]
    assert "as the model allows" not in made(lambda name: stored.get(name, Evidence(())))
