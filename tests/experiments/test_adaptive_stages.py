"""Specs with stages that are sized as one goes: their options, rows, resuming and refusals."""

from __future__ import annotations

import pytest

import flowprune.experiments.job as job_module
from flowprune.experiments.job import run
from flowprune.experiments.spec import override
from tests.experiments.retrained import SPEC, rows, silent

ADAPTIVE = {"prune.schedule": "adaptive", "prune.measure": "lm", "prune.sparsity": 0.6, "prune.rounds": 50}


ONE_GO = {"prune.at": "init", "prune.rounds": 1}


def test_a_spec_says_how_closely_adaptive_stages_are_predicted(tmp_path):
    """A looser tolerance takes fewer stages; each says whether it is within it."""
    counts = []
    for tolerance in (0.05, 0.8):
        options = {"tolerance": tolerance, "full": True}
        spec = override(SPEC, {**ADAPTIVE, "prune.schedule_options": options})
        cuts = rows(run(spec, tmp_path / str(tolerance), listen=silent), "cut")
        for cut in cuts:
            gap = abs(cut["stage_predicted"] - cut["stage_measured"])
            assert cut["stage_within"] == (gap <= tolerance * max(abs(cut["stage_measured"]), 0.01 * cut["loss"]))
        counts.append(len(cuts))
    assert counts[0] > counts[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prune.schedule_options": {"tolerance": 2.0}}, r"schedule_options\).*tolerance=\) must be in \(0, 1\)"),
        ({"prune.schedule_options": {"tolerence": 0.1}}, "tolerance, order, trials, negligible, full; got 'tolerence'"),
        ({"prune.schedule_options": {"full": "yes"}}, "full=\\) must be True or False"),
        ({"prune.schedule": "linear", "prune.schedule_options": {"full": True}}, "linear has none"),
        ({"prune.schedule_options": {"order": True}}, "order=\\) must be 1 or 2; got True"),
        ({"prune.schedule_options": {"order": 2.0}}, "order=\\) must be 1 or 2"),
        ({"prune.rounds": 1}, r"Spec\(prune\.rounds\) must be >= 2: one stage is all there is to cut; got 1"),
        ({"prune.curvature": "empirical", "prune.schedule_options": {"full": True}}, "which reads none"),
        ({"prune.measure": "synflow"}, r"prune\.measure\) must be a measure of the loss itself"),
        (
            {
                "prune.at": "init",
                "prune.rounds": 1,
                "prune.schedule": "linear",
                "prune.schedule_options": {"full": True},
            },
            "schedule_options\\) must be left out: linear has none",
        ),
        ({"prune.schedule": "one_shot", "prune.rounds": 5}, r"Spec\(prune\.rounds\) must be 1; got 5"),
        (ONE_GO, r"prune\.iterations\) must be above 1"),
        (
            {**ONE_GO, "prune.iterations": 1, "prune.schedule_options": {"full": True}},
            r"prune\.iterations\) must be above 1",
        ),
    ],
)
def test_what_the_schedule_does_not_have_is_refused_when_the_spec_is_read(changes, said):
    with pytest.raises(ValueError, match=said):
        override(SPEC, {**ADAPTIVE, **changes})


def test_the_curvature_that_adaptive_stages_are_sized_by_can_be_chosen(tmp_path):
    asked = {"prune.curvature": "empirical", "prune.rounds": 6, "prune.schedule_options": {"tolerance": 0.5}}
    cuts = rows(run(override(SPEC, {**ADAPTIVE, **asked}), tmp_path, listen=silent), "cut")
    assert 1 < len(cuts) <= 6
    assert all("predicted_loss_change_second" in cut for cut in cuts)


def test_adaptive_stages_are_as_many_as_they_come_to(tmp_path, monkeypatch):
    asked = {"prune.schedule": "adaptive", "prune.measure": "qm", "prune.sparsity": 0.2, "prune.rounds": 50}
    spec = override(SPEC, asked)
    folder = run(spec, tmp_path / "whole", listen=silent)
    cuts, (pruned,) = rows(folder, "cut"), rows(folder, "pruned")
    assert pruned["stages"] == len(cuts) < 50
    assert pruned["stage_tolerance"] == 0.1
    assert pruned["stages_within"] == sum(cut["stage_within"] for cut in cuts)
    assert pruned["stage_trials"] == sum(cut["stage_trials"] for cut in cuts)
    assert pruned["stage_predicted"] == pytest.approx(sum(cut["stage_predicted"] for cut in cuts))
    assert cuts[-1]["achieved_sparsity"] == pytest.approx(0.2, abs=1e-3)
    assert len(rows(folder, "epoch")) == 8

    class Stopped(BaseException):
        pass

    original = job_module._Job._after_epoch

    def stopped(self, now):
        original(self, now)
        if now.epoch == 5:
            raise Stopped

    monkeypatch.setattr(job_module._Job, "_after_epoch", stopped)
    with pytest.raises(Stopped):
        run(spec, tmp_path / "broken", listen=silent)
    monkeypatch.setattr(job_module._Job, "_after_epoch", original)
    assert rows(run(spec, tmp_path / "broken", listen=silent)) == rows(folder)
