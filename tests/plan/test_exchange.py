"""A plan that is saved over an older one: whenever the process dies, one of the two is there, whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.plan.exchange import settle, stage, staged, whole

WIDTH = 99


def dense(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2))


def cut(keep):
    return fp.remove(dense(), {"0.weight": keep}, example_inputs=torch.ones(1, 4))


OLD = cut(torch.arange(WIDTH) % 2 > 0)
NEW = {
    "another cut": cut(torch.arange(WIDTH) % 3 > 0),
    "without indices": dense(seed=1),
    "the same": OLD,
}


def same(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[n].shape == theirs[n].shape and torch.equal(ours[n], theirs[n]) for n in ours
    )


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def dying(monkeypatch):
    """Let the process die at the n-th change of a folder; how many changes there were is told."""
    changes = {"count": 0, "at": -1}

    def counted(name):
        real = getattr(Path, name)

        def change(self, *arguments, **named):
            if changes["count"] == changes["at"]:
                raise Killed
            if changes["count"] > changes["at"] >= 0:
                raise Killed  # nor does anything run after it
            changes["count"] += 1
            return real(self, *arguments, **named)

        monkeypatch.setattr(Path, name, change)

    for name in ("replace", "unlink", "write_bytes"):
        counted(name)
    return changes


@pytest.mark.parametrize("second", NEW)
def test_the_old_or_the_new_plan_is_whole_whenever_the_process_dies(tmp_path, dying, second):
    outcomes, steps = set(), None
    for at in range(40):
        folder = tmp_path / str(at)
        dying.update(count=0, at=-1)
        fp.save(OLD, folder)
        dying.update(count=0, at=at)
        try:
            fp.save(NEW[second], folder)
            steps = at
        except Killed:
            pass
        dying.update(count=0, at=-1)
        found = fp.load(dense, folder)
        outcomes.add("old" if same(found, OLD) else "new" if same(found, NEW[second]) else "neither")
        fp.plan.verify(folder, dense)
        fp.save(OLD, folder)  # and it is saved over again: what was left behind is gone
        assert same(fp.load(dense, folder), OLD)
        assert sorted(file.name for file in folder.iterdir()) == ["model.safetensors", "plan.json", "plan.safetensors"]
        if steps is not None:
            break
    assert steps is not None
    assert steps > 5
    assert outcomes == ({"old"} if second == "the same" else {"old", "new"})


def test_a_plan_that_died_half_way_can_be_saved_over_from_its_waiting_files(tmp_path, dying):
    """The new plan counts, its weights wait: a save that dies then must not lose them."""
    fp.save(OLD, tmp_path / "a")
    for at in range(40):
        shutil.rmtree(tmp_path / "b", ignore_errors=True)
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        dying.update(count=0, at=at)
        try:
            fp.save(NEW["another cut"], tmp_path / "b")
        except Killed:
            pass
        else:
            break
        for again in range(3):
            dying.update(count=0, at=again)
            with pytest.raises(Killed):
                fp.save(NEW["without indices"], tmp_path / "b")
            dying.update(count=0, at=-1)
            found = fp.load(dense, tmp_path / "b")
            assert same(found, OLD) or same(found, NEW["another cut"])


def test_files_of_others_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for model in (OLD, NEW["another cut"], NEW["without indices"]):
        fp.save(model, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.safetensors", "notes.txt", "plan.json"]


def test_a_file_waits_and_takes_its_place(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    expected = stage(path, lambda part: part.write_bytes(b"new"))
    assert path.read_bytes() == b"old"
    assert whole(path, expected) == staged(path, expected)
    settle(tmp_path, {"x": expected})
    assert whole(path, expected) == path
    assert path.read_bytes() == b"new"
    path.write_bytes(b"other")
    assert whole(path, expected) is None


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_told(tmp_path, place):
    (tmp_path / "file").write_text("here")
    with pytest.raises(ValueError, match=r"save\(folder=\) must be a folder that can be written; got"):
        fp.save(OLD, tmp_path / place)


def test_a_folder_that_cannot_be_written_keeps_its_plan(tmp_path, monkeypatch):
    fp.save(OLD, tmp_path)

    def full(tensors, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("flowprune.plan.folder.save_file", full)
    with pytest.raises(ValueError, match=r"save\(folder=\) must be .* No space left on device"):
        fp.save(NEW["another cut"], tmp_path)
    assert same(fp.load(dense, tmp_path), OLD)
