"""Studies, archives and filters on the command line."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from flowprune.cli.main import application
from flowprune.cli.sweep import chosen, planned
from flowprune.experiments.archive import Archive
from flowprune.experiments.folder import open_folder
from flowprune.experiments.spec import override
from flowprune.experiments.studies import STUDIES
from flowprune.experiments.study import cells


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


def test_a_filter_that_leaves_nothing_tells_the_values_there_are():
    result = invoke("sweep", "--study", "demo", "--only", "prune.rounds=3", "--only", "seed=0")
    assert result.exit_code == 2
    assert "prune.rounds is one of: 1, 5, None; seed is one of: 0, 1, 2" in " ".join(result.output.split())


def test_the_details_of_a_study_are_its_title_and_its_size():
    lines = invoke("list", "studies", "--details").output.splitlines()
    small = STUDIES["lubana2021_small"]
    (told,) = (line for line in lines if line.startswith("lubana2021_small "))
    assert told.endswith(f"{small.title}: {len(small.specs)} runs, {len(cells(small.specs))} cells")
    assert max(map(len, lines)) < 200


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(tmp_path):
    runs = tmp_path / "runs"
    result = invoke("sweep", "--study", "demo", "--only", "prune.measure=dense,fisher,magnitude", "--only", "seed=0,1",
                    "--dry-run", "--runs", str(runs))  # fmt: skip
    assert result.exit_code == 0
    assert result.output.startswith("6 runs would be done:\n  digits_convnet on digits, dense: seeds 0, 1\n")
    assert "magnitude, 5 rounds, 75 % of channels: seeds 0, 1\n" in result.output
    assert not runs.exists()


def answer(root, spec):
    folder = open_folder(spec, root, print)
    folder.rows.append({"kind": "result", "test_accuracy_final": 0.5})
    folder.finish()


def test_what_another_machine_answered_is_not_done_again_whether_it_is_in_runs_or_in_an_archive(tmp_path):
    dense = [spec for spec in STUDIES["demo"].specs if spec.prune is None]
    runs = tmp_path / "runs"
    for spec in dense[:2]:
        answer(runs, override(spec, {"device": "cuda", "execution.precision": "bfloat16"}))
    ask = ("sweep", "--study", "demo", "--only", "prune.measure=dense", "--dry-run")
    here = invoke(*ask, "--runs", str(runs))
    assert f"2 of 3 runs are answered in {runs} by runs computed in another way" in " ".join(here.output.split())
    assert "1 run would be done:\n  digits_convnet on digits, dense: seed 2\n" in here.output
    folders = invoke(*ask, "--runs", str(tmp_path / "new"), "--archive", str(runs))
    assert f"2 of 3 runs are in {runs}." in " ".join(folders.output.split())
    assert "1 run would be done:" in folders.output
    asked = ("sweep", "--preset", "demo", "--axis", "execution.precision=float32,bfloat16", "--dry-run")
    assert "2 runs would be done:" in invoke(*asked, "--runs", str(runs)).output  # who asks for both ways gets both


def test_an_archive_that_is_none_is_not_taken_for_an_empty_one(tmp_path):
    ask = ("sweep", "--study", "demo", "--dry-run")
    (tmp_path / "other").mkdir()
    refused = invoke(*ask, "--archive", str(tmp_path / "other"))
    assert refused.exit_code == 2
    assert "holds neither an archive nor run folders" in " ".join(refused.output.split())
    absent = invoke(*ask, "--archive", str(tmp_path / "typo"))
    assert absent.exit_code == 0
    assert "is not there: no run is in it" in " ".join(absent.output.split())


def test_what_is_left_out_of_an_archive_is_told(tmp_path):
    spec = STUDIES["demo"].specs[0]
    answer(tmp_path / "runs", spec)
    answer(tmp_path / "runs", override(spec, {"threads": 2}))
    result = invoke("collect", str(tmp_path / "runs"), "--into", str(tmp_path / "kept"))
    assert "1 run added" in result.output
    assert "1 run left out: its question is answered there, computed in another way" in " ".join(result.output.split())


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
