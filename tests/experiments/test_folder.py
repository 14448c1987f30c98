from __future__ import annotations

import multiprocessing

import pytest
import torch

from flowprune.core.errors import PruningError
from flowprune.experiments.checkpoints import Checkpoint
from flowprune.experiments.folder import folders, open_folder
from flowprune.experiments.spec import parse

SPEC = parse({"model": {"name": "mlp"}, "data": {"name": "gaussians"}})


@pytest.fixture
def told():
    return []


@pytest.fixture
def folder(tmp_path, told):
    return open_folder(SPEC, tmp_path, told.append)


def save(folder, epoch):
    folder.rows.append({"kind": "epoch", "epoch": epoch, "train_loss": 1 / epoch})
    folder.checkpoints.save(Checkpoint(epoch, {"model/w": torch.full((3,), float(epoch))}, {"best": epoch / 10}))


def lines(folder):
    return folder.rows.path.read_text().splitlines()


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def test_the_newest_checkpoint_comes_back_and_rows_after_it_go(folder, told):
    save(folder, 1)
    save(folder, 2)
    folder.rows.append({"kind": "epoch", "epoch": 3})
    found = folder.checkpoints.latest(told.append)
    assert (found.epoch, found.facts) == (2, {"best": 0.2})
    assert torch.equal(found.tensors["model/w"], torch.full((3,), 2.0))
    assert len(lines(folder)) == 2
    assert told == []


def test_two_generations_are_kept(folder):
    for epoch in (1, 2, 3):
        save(folder, epoch)
    assert sorted(path.stem for path in folder.checkpoints.path.glob("*.json")) == ["0002", "0003"]
    assert sorted(path.stem for path in folder.checkpoints.path.glob("*.safetensors")) == ["0002", "0003"]


@pytest.mark.parametrize("suffix", ["safetensors", "json"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(folder, told, suffix):
    save(folder, 1)
    save(folder, 2)
    damage(folder.checkpoints.path / f"0002.{suffix}")
    assert folder.checkpoints.latest(told.append).epoch == 1
    assert len(told) == 1
    assert "0002" in told[0]
    assert "damaged" in told[0]
    assert len(lines(folder)) == 1


def test_damaged_facts_that_are_still_json_are_noticed(folder, told):
    save(folder, 1)
    path = folder.checkpoints.path / "0001.json"
    path.write_text(path.read_text().replace('"best": 0.1', '"best": 0.9'))
    assert folder.checkpoints.latest(told.append) is None
    assert "checksum" in told[0]


def test_damaged_rows_send_the_run_back_to_where_they_were_good(folder, told):
    save(folder, 1)
    save(folder, 2)
    folder.rows.path.write_text(folder.rows.path.read_text().replace("0.5", "0.7"))
    assert folder.checkpoints.latest(told.append).epoch == 1
    assert "rows.jsonl" in told[0]


def test_with_everything_damaged_the_run_starts_over(folder, told):
    save(folder, 1)
    damage(folder.checkpoints.path / "0001.safetensors")
    assert folder.checkpoints.latest(told.append) is None
    assert lines(folder) == []


def test_tensors_without_facts_are_no_checkpoint(folder, told):
    save(folder, 1)
    (folder.checkpoints.path / "0002.safetensors").write_bytes(b"half of a fi")
    assert folder.checkpoints.latest(told.append).epoch == 1
    assert told == []


def test_a_torn_last_row_goes(folder, told):
    save(folder, 1)
    with folder.rows.path.open("a") as file:
        file.write('{"kind": "ep')
    folder.checkpoints.latest(told.append)
    assert len(lines(folder)) == 1


def test_numbers_that_are_not_finite_are_stored_as_null(folder):
    folder.rows.append({"kind": "agreement", "spearman": float("nan"), "pearson": float("inf"), "overlap": 0.5})
    assert lines(folder) == ['{"kind": "agreement", "spearman": null, "pearson": null, "overlap": 0.5}']


def test_a_folder_of_another_spec_is_an_error(tmp_path, told):
    other = open_folder(SPEC.model_copy(update={"seed": 1}), tmp_path, told.append)
    other.path.rename(tmp_path / SPEC.run_id)
    with pytest.raises(ValueError, match="of another spec"):
        open_folder(SPEC, tmp_path, told.append)


def test_a_damaged_spec_is_told_and_written_again(folder, told):
    (folder.path / "spec.json").write_text("{")
    again = open_folder(SPEC, folder.path.parent, told.append)
    assert again.spec == SPEC
    assert "spec.json is damaged" in told[0]


def test_done_proves_the_files(folder, told):
    save(folder, 1)
    folder.write_environment({"threads": 1})
    assert not folder.finished
    folder.finish()
    assert folder.finished
    assert folder.damaged() == []
    folder.rows.append({"kind": "epoch"})
    assert folder.damaged() == ["rows.jsonl"]
    folder.reopen(told.append)
    assert not folder.finished
    assert "rows.jsonl" in told[0]


def _hold(path, spec, connection):
    with open_folder(spec, path, print).locked():
        connection.send("held")
        connection.recv()


def test_two_processes_cannot_hold_a_folder(folder):
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=_hold, args=(folder.path.parent, SPEC, far), daemon=True)
    process.start()
    assert near.recv() == "held"
    with pytest.raises(PruningError, match="in use by another process"), folder.locked():
        pass
    process.kill()
    process.join()
    with folder.locked():
        pass


def test_folders_are_found_below_a_root(folder):
    assert [found.path for found in folders(folder.path.parent)] == [folder.path]
    with pytest.raises(ValueError, match="Run something first"):
        folders(folder.path / "nothing")
