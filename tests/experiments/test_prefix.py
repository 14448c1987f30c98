"""The dense beginning that runs share: trained once, and nobody can tell from the rows."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

import pytest

import flowprune.experiments.job as job_module
from flowprune.experiments.job import run, run_shared
from flowprune.experiments.prefix import FOLDER, Prefix, forget, identity
from flowprune.experiments.spec import override, parse
from flowprune.experiments.sweeping import sweep

SMALL = parse(
    {
        "model": {"name": "digits_convnet", "options": {"widths": [6, 8]}},
        "data": {"name": "gaussians", "options": {"samples": 120}},
        "train": {"epochs": "6ep", "batch": 32, "learning_rate": 0.05},
        "prune": {"measure": "loss_preservation", "rounds": 2, "sparsity": 0.5, "samples": 32, "start": "2ep"},
        "record": {"flow_samples": 16, "flow_training": 2, "track": {"every": 1}},
    }
)
TIMES = ("seconds", "gather_seconds", "cut_seconds", "train_seconds")


def silent(event):
    del event


def rows(folder):
    lines = [json.loads(line) for line in folder.rows.path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def counted(monkeypatch):
    """How many epochs each call of fit trains."""
    spans = []
    original = job_module.fit

    def fit(*args, **kwargs):
        spans.append(kwargs["start"].count)
        return original(*args, **kwargs)

    monkeypatch.setattr(job_module, "fit", fit)
    return spans


def test_a_run_from_a_shared_beginning_writes_what_it_would_have_written(tmp_path, monkeypatch):
    other = override(SMALL, {"prune.rounds": 1, "prune.sparsity": 0.25})
    alone = {spec.run_id: run(spec, tmp_path / "alone", listen=silent) for spec in (SMALL, other)}
    starts = counted(monkeypatch)
    shared = {spec.run_id: run_shared(spec, tmp_path / "shared", listen=silent) for spec in (SMALL, other)}
    assert starts == [0, 3]  # the second begins after the three dense epochs that the first left
    for name, folder in shared.items():
        assert rows(folder) == rows(alone[name])
        assert (folder.path / "model.safetensors").read_bytes() == (alone[name].path / "model.safetensors").read_bytes()
    assert len(list((tmp_path / "shared" / FOLDER).iterdir())) == 1
    assert not (tmp_path / "alone" / FOLDER).exists()


def test_what_changes_the_beginning_changes_its_name_and_nothing_else_does():
    same = {
        "name": "other", "prune.rounds": 1, "prune.sparsity": 0.3, "prune.floor": 0.1, "train.epochs": "9ep",
        "train.milestones": {"5ep": 0.01}, "record.cuts": "none", "record.checkpoint": 1,
        "record.agreement": ["magnitude", "fisher"], "prune.samples": 16,
    }  # fmt: skip
    other = {
        "seed": 1, "prune.start": "1ep", "prune.every": "2ep", "train.batch": 16, "train.momentum": 0.5,
        "train.milestones": {"2ep": 0.01}, "objective.temperature": 5.0, "model.options": {"widths": [6, 9]},
        "data.options": {"samples": 130}, "record.flow": 2, "record.track.sparsity": 0.5, "prune.residual": "inner",
        "execution.precision": "bfloat16",
    }  # fmt: skip
    assert {identity(override(SMALL, {field: value})) for field, value in same.items()} == {identity(SMALL)}
    names = [identity(override(SMALL, {"train.epochs": "9ep", field: value})) for field, value in other.items()]
    assert len({*names, identity(SMALL)}) == len(other) + 1
    assert identity(override(SMALL, {"prune.measure": "dense"})) is None
    untracked = override(SMALL, {"record.track.every": "none"})
    assert identity(untracked) == identity(override(untracked, {"prune.residual": "inner"}))


def test_a_damaged_beginning_is_not_used(tmp_path, monkeypatch):
    run_shared(SMALL, tmp_path, listen=silent)
    prefix = Prefix.of(SMALL, tmp_path)
    for path in prefix.checkpoints.path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-8] + b"damaged!")
    starts = counted(monkeypatch)
    folder = run_shared(override(SMALL, {"prune.rounds": 1}), tmp_path, listen=silent)
    assert starts == [0]
    assert folder.finished


def test_an_interrupted_run_prefers_its_own_checkpoint(tmp_path, monkeypatch):
    run_shared(SMALL, tmp_path, listen=silent)
    other = override(SMALL, {"prune.rounds": 1, "record.checkpoint": 1})

    class Stopped(BaseException):
        pass

    original = job_module._Job._checkpoint

    def stop(self, epoch, **more):
        if epoch == 5:
            raise Stopped
        return original(self, epoch, **more)

    monkeypatch.setattr(job_module._Job, "_checkpoint", stop)
    with pytest.raises(Stopped):
        run(other, tmp_path, listen=silent)
    monkeypatch.setattr(job_module._Job, "_checkpoint", original)
    starts = counted(monkeypatch)
    assert rows(run(other, tmp_path, listen=silent)) == rows(run(other, tmp_path / "alone", listen=silent))
    assert starts[0] == 4


def hold(root: str, seconds: float) -> None:
    prefix = Prefix.of(SMALL, Path(root))
    prefix.hold()
    Path(root, "held").touch()
    time.sleep(seconds)


def test_a_second_process_waits_for_the_first(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(str(tmp_path), 2.0))
    process.start()
    try:
        while not (tmp_path / "held").exists():
            assert process.is_alive()
            time.sleep(0.02)
        began = time.perf_counter()
        prefix = Prefix.of(SMALL, tmp_path)
        prefix.hold()
        assert time.perf_counter() - began > 0.5
        prefix.release()
    finally:
        process.join()


def test_a_sweep_trains_each_beginning_once_and_clears_it_away(tmp_path):
    specs = [override(SMALL, {"prune.measure": m, "seed": s, "record.track.every": "none"})
             for s in (0, 1) for m in ("magnitude", "loss_preservation", "random")]  # fmt: skip
    result = sweep(specs, tmp_path, jobs=2, listen=silent)
    assert not result.failed
    assert not (tmp_path / FOLDER).exists()
    by_seed = {}
    for folder in result.finished:
        epochs = [row for row in rows(folder) if row["kind"] == "epoch" and row["epoch"] <= 2]
        by_seed.setdefault(folder.spec.seed, []).append(epochs)
        seconds = [json.loads(line)["seconds"] for line in folder.rows.path.read_text().splitlines()
                   if json.loads(line)["kind"] == "epoch"][:2]  # fmt: skip
        by_seed.setdefault(("seconds", folder.spec.seed), []).append(tuple(seconds))
    for seed in (0, 1):
        assert by_seed[seed][0] == by_seed[seed][1] == by_seed[seed][2]
        assert len(set(by_seed["seconds", seed])) == 1  # the very same epochs, timed once


def test_forgetting_leaves_other_folders(tmp_path):
    prefix = Prefix.of(SMALL, tmp_path)
    prefix.path.mkdir(parents=True)
    other = Prefix.of(override(SMALL, {"seed": 1}), tmp_path)
    other.path.mkdir()
    forget(tmp_path, [SMALL])
    assert not prefix.path.exists()
    assert other.path.exists()
