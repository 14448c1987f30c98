"""The main job: what it writes, and that stopping it at any moment changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from flowprune.core.errors import PruningError
from flowprune.data import build as build_data
from flowprune.experiments.folder import RunFolder
from flowprune.experiments.job import run
from flowprune.experiments.latency import measure
from flowprune.experiments.parts import build_model
from flowprune.experiments.pruned import load_pruned
from flowprune.experiments.rows import Rows
from flowprune.experiments.spec import override, parse
from flowprune.experiments.store import connect, read
from flowprune.plan import read_plan
from flowprune.train import evaluate

TINY = parse(
    {
        "model": {"name": "digits_convnet", "options": {"widths": [6, 8]}},
        "data": {"name": "gaussians", "options": {"samples": 120}},
        "train": {"epochs": "5ep", "batch": 32, "learning_rate": 0.05},
        "prune": {"measure": "loss_preservation", "rounds": 2, "sparsity": 0.5, "samples": 32, "momentum": "slice"},
        "record": {"flow_samples": 16, "checkpoint": 2, "agreement": ["magnitude", "loss_preservation"]},
    }
)
TIMES = ("seconds", "gather_seconds", "cut_seconds", "train_seconds")


class Stopped(BaseException):
    """Stands for the end of the process: nothing of the library catches it."""


def silent(event):
    pass


def rows(folder):
    lines = [json.loads(line) for line in folder.rows.path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody stopped."""
    return run(TINY, tmp_path_factory.mktemp("whole"), listen=silent)


def test_the_rows_are_those_of_the_contract(whole):
    found = rows(whole)
    kinds = [row["kind"] for row in found]
    assert [kinds.count(kind) for kind in ("epoch", "flow", "cut", "layer", "agreement", "result")] == [
        5,
        6,
        2,
        4,
        1,
        1,
    ]
    assert kinds[-1] == "result"
    cuts = [row for row in found if row["kind"] == "cut"]
    assert [row["units_after"] for row in cuts] == [14 - 5, 14 - 7]
    assert [row["epoch"] for row in cuts] == [1, 2]
    assert set(cuts[1]["checks"]) == {"same function", "live optimizer", "exact sparsity"}
    result = found[-1]
    assert result["achieved_sparsity"] == 0.5
    assert result["parameters"] < result["parameters_dense"]
    assert result["multiply_adds"] < result["multiply_adds_dense"]
    epochs = [row for row in found if row["kind"] == "epoch"]
    chosen = max(epochs[2:], key=lambda row: (row["valid_accuracy"], -row["valid_loss"]))
    assert result["test_accuracy_selected"] == chosen["test_accuracy"]
    assert result["test_accuracy_final"] == epochs[-1]["test_accuracy"]


def test_predictions_are_near_what_is_measured(whole):
    for row in rows(whole):
        if row["kind"] == "flow":
            assert row["measured_velocity"] == pytest.approx(row["velocity"], rel=1e-3, abs=1e-5)
            assert row["measured_acceleration"] == pytest.approx(row["acceleration"], rel=0.1, abs=1e-3)
        if row["kind"] == "cut":
            assert abs(row["predicted_loss_change"] - row["measured_loss_change"]) < row["loss"]


def test_a_difference_along_the_flow_is_told_at_half_its_step_too(whole):
    for row in (row for row in rows(whole) if row["kind"] == "flow"):
        assert row["measured_velocity_half_step"] == pytest.approx(row["measured_velocity"], rel=1e-3, abs=1e-5)
        assert row["measured_acceleration_half_step"] != row["measured_acceleration"]


def test_changes_of_the_loss_that_is_trained_on_are_told_whatever_a_measure_is_scored_at(whole, tmp_path):
    for row in (row for row in rows(whole) if row["kind"] == "cut"):  # scored with what is trained on
        assert row["trained_loss"] == pytest.approx(row["loss"], rel=1e-5)
        assert row["measured_trained_loss_change"] == pytest.approx(row["measured_loss_change"], rel=1e-3, abs=1e-6)
    grasp = {"prune.measure": "gradient_norm_increase", "prune.temperature": 200.0, "prune.rounds": 1}
    told = {}
    for temperature in (200.0, 1.0):
        spec = override(TINY, {**grasp, "prune.temperature": temperature})
        (told[temperature],) = (row for row in rows(run(spec, tmp_path, listen=silent)) if row["kind"] == "cut")
    assert told[200.0]["trained_loss"] == pytest.approx(told[1.0]["trained_loss"])
    assert told[1.0]["trained_loss"] == pytest.approx(told[1.0]["loss"], rel=1e-5)
    assert abs(told[200.0]["measured_loss_change"]) < 0.1 * abs(told[200.0]["measured_trained_loss_change"])


def test_the_stored_model_is_the_one_that_was_measured(whole):
    spec, data = whole.spec, build_data("gaussians", samples=120)
    model = load_pruned(build_model(spec, data), whole.path)
    found = evaluate(model, data.inputs("test"), data.test.labels, objective=lambda f, b: f(b[0]).sum())
    assert found.accuracy == rows(whole)[-1]["test_accuracy_final"]
    assert read_plan(whole.path).sparsity == 0.5
    assert sum(v.numel() for v in load_file(whole.path / "model.safetensors").values()) > 0


def test_the_same_spec_gives_the_same_rows_and_another_seed_others(whole, tmp_path):
    state = torch.get_rng_state()
    assert rows(run(TINY, tmp_path, listen=silent)) == rows(whole)
    torch.set_rng_state(state)
    assert rows(run(override(TINY, {"seed": 1}), tmp_path, listen=silent)) != rows(whole)


@pytest.mark.parametrize("moment", [1, 3, 5, 9, 11, 12, 15, 18])
def test_stopped_at_any_row_the_run_goes_on_to_the_same_end(whole, tmp_path, monkeypatch, moment):
    """The process ends while the row is written, so half of it is in the file."""
    append, count = Rows.append, 0

    def torn(self, row):
        nonlocal count
        count += 1
        append(self, row)
        if count == moment:
            os.truncate(self.path, self.path.stat().st_size - 5)
            raise Stopped

    monkeypatch.setattr(Rows, "append", torn)
    with pytest.raises(Stopped):
        run(TINY, tmp_path, listen=silent)
    monkeypatch.setattr(Rows, "append", append)
    begun = []
    folder = run(TINY, tmp_path, listen=begun.append)
    assert rows(folder) == rows(whole)
    assert folder.damaged() == []
    if moment > 15:
        assert begun[0].done > 2  # it did not start over


@pytest.mark.parametrize(
    "changes",
    [
        {"prune.granularity": "weights"},
        {"prune.granularity": "blocks:2x3", "prune.scope": "local"},
        {"prune.granularity": "nm:1:2", "record.track.every": 2, "record.track.sparsity": 0.5},
        {"prune.momentum": "reset", "prune.measure": "gradient_norm_preservation"},
        {"prune.measure": "dense"},
        {"prune.measure": "random", "prune.scope": "local"},
    ],
)
@pytest.mark.filterwarnings("ignore:NM")
def test_other_runs_go_on_to_the_same_end_too(tmp_path, changes):
    spec = override(TINY, changes)

    def stop(event):
        if event.kind == "progress" and event.done == 4:
            raise Stopped

    with pytest.raises(Stopped):
        run(spec, tmp_path / "stopped", listen=stop)
    assert rows(run(spec, tmp_path / "stopped", listen=silent)) == rows(run(spec, tmp_path / "whole", listen=silent))


KILL = """
import os, signal, sys
from flowprune.experiments.folder import RunFolder
from flowprune.experiments.job import run
spec = RunFolder(__import__("pathlib").Path(sys.argv[1])).spec
def kill(event):
    if event.kind == "progress" and event.done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
run(spec, sys.argv[2], listen=kill)
"""


def test_kill_9_and_a_damaged_checkpoint(whole, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILL, str(whole.path), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = RunFolder(tmp_path / TINY.run_id)
    assert not folder.finished
    newest = max(folder.checkpoints.path.glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-7])
    told = []
    run(TINY, tmp_path, listen=told.append)
    notes = [event.text for event in told if event.kind == "note"]
    assert len(notes) == 1
    assert newest.name in notes[0]
    assert "going back" in notes[0]
    assert rows(folder) == rows(whole)


def test_a_finished_run_is_left_alone_and_a_damaged_one_mended(whole, tmp_path):
    folder = run(TINY, tmp_path, listen=silent)
    heard = []
    run(TINY, tmp_path, listen=heard.append)
    assert heard == []
    folder.rows.path.write_text(folder.rows.path.read_text()[:-200])
    with pytest.raises(PruningError, match=r"rows\.jsonl"):
        read(tmp_path)
    run(TINY, tmp_path, listen=heard.append)
    assert "rows.jsonl" in heard[0].text
    assert rows(folder) == rows(whole)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    wild = override(TINY, {"train.learning_rate": 1e30})
    with pytest.raises(PruningError, match=r"the loss is (nan|inf)"):
        run(wild, tmp_path, listen=silent)
    assert not RunFolder(tmp_path / wild.run_id).finished


def test_rows_of_many_runs_are_read_together(whole, tmp_path):
    run(override(TINY, {"prune.measure": "dense", "record.flow": "none"}), tmp_path, listen=silent)
    root = whole.path.parent
    measure([whole], repeats=3)
    results = read([root, tmp_path], "result")
    assert [(row["measure"], row["rounds"], row["sparsity"], row["seed"]) for row in results] == [
        ("loss_preservation", 2, 0.5, 0),
        ("dense", 0, 0.0, 0),
    ]
    assert results[0]["latency_ms"] > 0
    assert results[0]["latency_threads"] == 1
    assert "latency_ms" not in results[1]
    with connect([root, tmp_path]) as connection:
        count = connection.sql("select count(distinct run) from rows where kind = 'epoch'").fetchall()
    assert count == [(2,)]


def test_unfinished_runs_are_read_when_asked_for(tmp_path):
    folder = RunFolder(tmp_path / TINY.run_id)

    def stop(event):
        if event.done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        run(TINY, tmp_path, listen=stop)
    with folder.rows.path.open("a") as file:
        file.write('{"kind": "epoch", "epo')
    with pytest.raises(ValueError, match="finished runs"):
        read(tmp_path)
    assert [row["epoch"] for row in read(tmp_path, "epoch", unfinished=True)] == [1, 2, 3]
