"""Runs that stopped: kept beside an archive's rows, forgotten once they are finished."""

from __future__ import annotations

import pytest

from flowprune.core.errors import PruningError
from flowprune.experiments.archive import Archive
from flowprune.experiments.failures import FAILURES, failures, keep_failures
from flowprune.experiments.folder import open_folder
from flowprune.experiments.spec import override
from flowprune.experiments.store import records
from tests.experiments.test_archive import BASE, finished

TRACE = """Traceback (most recent call last):
  File "job.py", line 1, in run
flowprune.core.errors.PruningError: fit() stopped: the loss is nan in epoch 1. No weight was updated.
"""


def stopped(root, seed):
    folder = open_folder(override(BASE, {"seed": seed}), root, print)
    (folder.path / "error.txt").write_text(TRACE)
    return folder


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "runs"
    finished(root, 0)
    stopped(root, 1)
    return root


def test_what_a_run_said_that_stopped_is_kept_beside_the_rows_of_others(runs, tmp_path):
    archive = tmp_path / "kept"
    Archive(archive).merge(records(runs))
    assert failures(archive) == ()
    assert keep_failures(archive, [runs]) == 1
    (kept,) = failures(archive)
    assert kept.spec == override(BASE, {"seed": 1})
    assert kept.error == "fit() stopped: the loss is nan in epoch 1. No weight was updated."
    assert (kept,) == failures(runs)
    assert len(Archive(archive).records) == 1  # it is no run with rows


def test_a_run_that_was_finished_since_is_no_failure(runs, tmp_path):
    archive = tmp_path / "kept"
    Archive(archive).merge(records(runs))
    keep_failures(archive, [runs])
    finished(runs, 1)
    Archive(archive).merge(records(runs))
    assert keep_failures(archive, [runs]) == 0
    assert not (archive / FAILURES).exists()


def test_a_failure_stays_when_others_are_collected_and_reaches_another_archive(runs, tmp_path):
    archive, other = tmp_path / "kept", tmp_path / "other"
    Archive(archive).merge(records(runs))
    keep_failures(archive, [runs])
    more = tmp_path / "more"
    finished(more, 2)
    stopped(more, 3)
    Archive(archive).merge(records(more))
    assert keep_failures(archive, [more]) == 2
    Archive(other).merge(records(archive))
    assert keep_failures(other, [archive]) == 2
    assert (other / FAILURES).read_bytes() == (archive / FAILURES).read_bytes()


def test_a_damaged_file_of_failures_is_told(runs, tmp_path):
    archive = tmp_path / "kept"
    Archive(archive).merge(records(runs))
    (archive / FAILURES).write_text('{"run": "a"}\n')
    with pytest.raises(PruningError, match=r"failures\.jsonl is damaged"):
        failures(archive)
