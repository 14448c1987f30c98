from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowprune.experiments.folder import RunFolder
from flowprune.experiments.spec import parse
from flowprune.experiments.store import read
from flowprune.experiments.sweeping import sweep

BASE = parse({"model": {"name": "mlp"}, "data": {"name": "gaussians"}})


def specs(*seeds):
    return [BASE.model_copy(update={"seed": seed}) for seed in seeds]


def test_runs_finish_and_workers_stay_alive(tmp_path):
    events = []
    result = sweep(specs(0, 1, 2, 3), tmp_path, jobs=2, listen=events.append, target="tests.experiments.pretend:quick")
    assert result.failed == {}
    assert [folder.spec.seed for folder in result.finished] == [0, 1, 2, 3]
    assert result.failed == {}
    processes = {event.text for event in events if event.kind == "progress"}
    assert len(processes) <= 2
    assert [event.kind for event in events].count("done") == 4


def test_a_failed_run_and_a_dead_process_do_not_stop_the_others(tmp_path):
    events = []
    runs = specs(13, 0, 14, 1, 2)
    result = sweep(runs, tmp_path, jobs=2, listen=events.append, target="tests.experiments.pretend:quick")
    assert [folder.spec.seed for folder in result.finished] == [0, 1, 2]
    assert result.failed[runs[0].run_id] == "ValueError: unlucky"
    assert "exit code -9" in result.failed[runs[2].run_id]
    assert "unlucky" in (tmp_path / runs[0].run_id / "error.txt").read_text()


def test_finished_runs_are_skipped_and_damaged_ones_done_again(tmp_path):
    sweep(specs(0, 1), tmp_path, jobs=1, target="tests.experiments.pretend:quick")
    damaged = RunFolder(tmp_path / specs(0)[0].run_id)
    damaged.rows.path.write_text("")
    events = []
    result = sweep(specs(0, 1, 2), tmp_path, jobs=1, listen=events.append, target="tests.experiments.pretend:quick")
    assert [event.kind for event in events if event.kind in ("skipped", "start")] == ["skipped", "start", "start"]
    assert len(result.finished) == 3
    assert damaged.damaged() == []


def test_no_specs_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"sweep\(specs=\)"):
        sweep([], tmp_path)
    with pytest.raises(ValueError, match=r"sweep\(jobs=\)"):
        sweep(specs(0), tmp_path, jobs=0)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


SCRIPT = """
import signal, sys
from pathlib import Path
from flowprune.experiments.spec import parse
from flowprune.experiments.sweeping import sweep
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    base = parse({"model": {"name": "mlp"}, "data": {"name": "gaussians"}})
    runs = [base.model_copy(update={"seed": seed}) for seed in (0, 15)]
    tell = lambda event: print(event.kind, event.text, flush=True)
    sweep(runs, Path(sys.argv[1]), jobs=1, listen=tell, target="tests.experiments.pretend:quick")
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupts_leave_finished_runs_and_no_processes(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = tmp_path / "runs"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, str(script), str(root)], stdout=subprocess.PIPE, text=True, env=environment,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    said = [process.stdout.readline().split() for _ in range(4)]
    assert [words[0] for words in said] == ["start", "progress", "done", "start"]
    worker = int(said[1][1])
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.kill()
    if how == signal.SIGKILL:
        assert alive(worker)  # in the middle of its run, at whose end it finds nobody to tell
        os.kill(worker, signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    if how == signal.SIGINT:
        assert errors.count("Traceback") == 1  # the parent's own; the worker stays silent
        assert not alive(worker)
    assert [row["seed"] for row in read(root, "result")] == [0]


def test_the_wait_for_a_busy_worker_costs_nothing(tmp_path):
    began = time.process_time()
    sweep(specs(0), tmp_path, jobs=1, target="tests.experiments.pretend:quick")
    assert time.process_time() - began < 1.0


def test_jobs_share_each_device_and_each_sees_its_own_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    events = []
    target = "tests.experiments.pretend:slow"
    sweep(specs(0, 1, 2, 3), tmp_path, jobs_per_device=2, listen=events.append, target=target)
    told = [event.text.split() for event in events if event.kind == "progress"]
    assert len({process for process, _ in told}) == 4  # two on each of two devices, all at once
    assert sorted(device for _, device in told) == ["3", "3", "5", "5"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


def test_jobs_on_devices_need_a_device(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ValueError, match="where there is a CUDA device"):
        sweep(specs(0), tmp_path, jobs_per_device=2)
    with pytest.raises(ValueError, match="not both"):
        sweep(specs(0), tmp_path, jobs=1, jobs_per_device=2)
    with pytest.raises(ValueError, match="jobs_per_device"):
        sweep(specs(0), tmp_path, jobs_per_device=0)
