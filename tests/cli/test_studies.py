"""Studies, archives and filters on the command line."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from flowprune.cli.main import application
from flowprune.cli.sweep import chosen, planned
from flowprune.experiments.archive import Archive
from flowprune.experiments.studies import STUDIES


def invoke(*args):
    return CliRunner().invoke(application(), list(args))


def test_a_study_is_filtered_by_its_fields():
    specs = planned(None, None, "lubana2021_small", [], [])
    assert len(specs) == len(STUDIES["lubana2021_small"].specs)
    few = chosen(specs, ["model.name=vgg13", "prune.measure=dense,magnitude", "seed=0", "data.name=cifar10"])
    told = {(s.prune.measure if s.prune else "dense", s.prune.rounds if s.prune else 0) for s in few}
    assert told == {("dense", 0), ("magnitude", 1), ("magnitude", 5), ("magnitude", 10)}
    assert all(spec.data.name == "cifar10" and spec.seed == 0 for spec in few)


def test_a_study_takes_settings_and_no_other_source():
    assert {s.device for s in planned(None, None, "demo", [], ["device=cuda"])} == {"cuda"}
    with pytest.raises(ValueError, match="A study has its own"):
        planned(None, "smoke", "demo", [], [])
    with pytest.raises(ValueError, match="A study has its own"):
        planned(None, None, "demo", ["seed=0"], [])


def test_a_filter_that_leaves_nothing_is_an_error():
    specs = planned(None, None, "demo", [], [])
    with pytest.raises(ValueError, match="some run is left"):
        chosen(specs, ["seed=77"])
    with pytest.raises(ValueError, match=r"prune\.rounds"):
        chosen(specs, ["prune.round=1"])


def test_runs_are_collected_and_not_done_again(tmp_path):
    sweep = ("sweep", "--preset", "smoke", "--axis", "prune.measure=dense,magnitude", "--jobs", "1")
    runs, kept = str(tmp_path / "runs"), str(tmp_path / "kept")
    assert invoke(*sweep, "--runs", runs).exit_code == 0
    collected = invoke("collect", runs, "--into", kept)
    assert "2 runs added" in collected.output
    assert "0 runs added" in invoke("collect", runs, "--into", kept).output
    assert len(Archive(kept).records) == 2
    again = invoke(*sweep, "--runs", str(tmp_path / "others"), "--archive", kept)
    assert "2 of 2 runs are in" in again.output
    assert not (tmp_path / "others").exists()
    assert "magnitude" in invoke("report", kept, "--out", str(tmp_path / "report.html")).output
