"""Runs whose first cut waits for an event: recorded, resumable, and never later than the epochs allow."""

from __future__ import annotations

import json

import pytest

import flowprune.experiments.job as job_module
from flowprune.core.errors import UnknownNameError
from flowprune.experiments.job import run
from flowprune.experiments.spec import override, parse

SPEC = parse(
    {
        "model": {"name": "digits_convnet", "options": {"widths": [6, 8]}},
        "data": {"name": "gaussians", "options": {"samples": 120}},
        "train": {"epochs": "8ep", "batch": 32, "learning_rate": 0.05},
        "prune": {
            "measure": "magnitude",
            "rounds": 2,
            "sparsity": 0.5,
            "samples": 32,
            "when": "after",
            "when_options": {"looks": 2},
        },
        "record": {"flow": "none", "checkpoint": 1},
    }
)
TIMES = ("seconds", "gather_seconds", "cut_seconds", "train_seconds")


def rows(folder):
    lines = [json.loads(line) for line in folder.rows.path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def of(folder, kind):
    return [row for row in rows(folder) if row["kind"] == kind]


def waiting_for(event, latest="auto", **options):
    return override(SPEC, {"prune.when": event, "prune.when_options": options, "prune.latest": latest})


def test_nothing_is_cut_before_the_event_and_the_rounds_follow_it(tmp_path):
    folder = run(waiting_for("after", looks=3), tmp_path, listen=lambda _: None)
    assert [(row["epoch"], row["fired"]) for row in of(folder, "look")] == [(1, False), (2, False), (3, True)]
    assert {row["event"] for row in of(folder, "look")} == {"after"}
    assert [row["epoch"] for row in of(folder, "cut")] == [3, 4]


def test_an_event_that_never_fires_is_not_waited_for_for_ever(tmp_path):
    never = waiting_for("early_bird", threshold=1e-9, window=5)
    assert never.latest == 6
    folder = run(never, tmp_path, listen=lambda _: None)
    assert [row["epoch"] for row in of(folder, "cut")] == [6, 7]
    sooner = run(override(never, {"prune.latest": 2}), tmp_path, listen=lambda _: None)
    assert [row["epoch"] for row in of(sooner, "cut")] == [2, 3]


@pytest.mark.parametrize("event", ["early_bird", "early_crop", "stable_structure"])
def test_stopped_while_it_waits_a_run_goes_on_to_the_same_end(event, tmp_path, monkeypatch):
    options = {"threshold": 0.3, "window": 2} if event == "early_bird" else {}
    options = {"threshold": 0.5, "window": 2} if event == "stable_structure" else options
    spec = waiting_for(event, **options)
    whole = run(spec, tmp_path / "whole", listen=lambda _: None)

    class Stopped(BaseException):
        pass

    original = job_module._Job._cut

    def stop(self, epoch):
        if epoch == 2:
            raise Stopped
        return original(self, epoch)

    monkeypatch.setattr(job_module._Job, "_cut", stop)
    with pytest.raises(Stopped):
        run(spec, tmp_path / "parts", listen=lambda _: None)
    monkeypatch.setattr(job_module._Job, "_cut", original)
    again = run(spec, tmp_path / "parts", listen=lambda _: None)
    assert rows(again) == rows(whole)
    assert len(of(again, "look")) >= 2


def test_an_event_is_built_when_the_spec_is_read():
    with pytest.raises(UnknownNameError, match="early_bird"):
        override(SPEC, {"prune.when": "early_birds"})
    with pytest.raises(ValueError, match="looks"):
        override(SPEC, {"prune.when_options": {"tooks": 1}})
    with pytest.raises(ValueError, match=r"train\.epochs"):
        override(SPEC, {"prune.latest": 7})
    with pytest.raises(ValueError, match=r"train\.epochs"):
        override(SPEC, {"prune.rounds": 8})
