"""Studies: grids of runs under one name."""

from __future__ import annotations

import pytest

from flowprune.core.errors import UnknownNameError
from flowprune.experiments.demo import specs as demo_specs
from flowprune.experiments.presets import PRESETS
from flowprune.experiments.spec import override
from flowprune.experiments.studies import STUDIES
from flowprune.experiments.study import cell, cells, read_study

GRID = """
title = "two measures"
preset = "smoke"
[[grid]]
"prune.measure" = "dense"
seed = [0, 1]
[[grid]]
"prune.measure" = ["magnitude", "fisher"]
"prune.rounds" = 1
seed = [0, 1]
[[grid]]
"prune.measure" = "magnitude"
"prune.rounds" = [1, 2]
seed = 0
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(GRID)
    return read_study(path)


def test_grids_are_products_and_a_run_of_two_grids_is_one(study):
    assert [len(family) for family in study.families] == [2, 4, 2]
    assert len(study.specs) == 7
    assert study.name == "two"


def test_what_is_missing_is_what_was_not_found(study):
    assert study.missing(study.specs[:5]) == study.specs[5:]
    assert study.missing(study.specs) == ()
    elsewhere = [override(spec, {"device": "cuda", "execution.precision": "bfloat16"}) for spec in study.specs[:5]]
    assert study.missing(elsewhere) == study.specs[5:]  # a cell is not run twice because another machine ran it
    assert study.missing([override(study.specs[0], {"train.batch": 7})]) == study.specs


def test_cells_are_told_with_their_seeds(study):
    told = cells(study.specs)
    assert told["digits_convnet on digits, dense"] == (0, 1)
    assert told["digits_convnet on digits, magnitude, 1 round, 50 % of channels"] == (0, 1)
    assert told["digits_convnet on digits, magnitude, 2 rounds, 50 % of channels"] == (0,)


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_study_that_comes_with_the_package_is_sound(name):
    study = STUDIES[name]
    assert study.title
    assert len({spec.run_id for spec in study.specs}) == len(study.specs)
    seeds = {1111, 1112, 1113, 1114, 1115} if name.startswith("laurent2020") else {0, 1, 2}
    assert {spec.seed for spec in study.specs} == seeds
    assert all(cell(spec) for spec in study.specs)


def test_the_full_study_is_the_papers_table():
    """3 networks, 2 data sets, 1/5/25 rounds, six measures, three seeds, and the dense runs."""
    specs = STUDIES["lubana2021"].specs
    pruned = [spec for spec in specs if spec.prune]
    assert len(pruned) == 3 * 2 * 3 * 6 * 3
    assert len(specs) - len(pruned) == 3 * 2 * 3
    assert {spec.epochs for spec in specs} == {160}
    assert {spec.objective.temperature for spec in specs} == {5.0}
    assert specs[0].model.name == "vgg13"
    assert {spec.prune.residual for spec in pruned if spec.model.name == "resnet56"} == {"masked"}


def test_the_published_protocol_is_in_the_preset():
    spec = PRESETS["lubana2021"]
    cut = spec.prune
    assert (cut.samples, cut.schedule, cut.momentum, cut.floor) == (2560, "rounds", "reset", 0.05)
    assert dict(spec.train.milestones) == {"80ep": 0.01, "120ep": 0.001}
    assert (spec.train.batch, spec.train.momentum, spec.train.weight_decay) == (128, 0.9, 1e-4)
    assert not spec.reference_compat


def test_the_demo_is_a_study():
    assert [spec.run_id for spec in demo_specs()] == [spec.run_id for spec in STUDIES["demo"].specs]


@pytest.mark.parametrize(
    ("text", "said"),
    [("title = 1", "a study with"), ("[", "must be TOML"), (GRID.replace("smoke", "smok"), "PRESETS has no"),
     (GRID.replace("prune.rounds", "prune.round"), "prune"), (GRID.split("[[grid]]", maxsplit=1)[0], "a study with")],
)  # fmt: skip
def test_a_study_that_is_none_is_refused(tmp_path, text, said):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises((ValueError, UnknownNameError), match=said):
        read_study(path)
