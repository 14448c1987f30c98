"""Runs collected into an archive: the same rows, each run once, damage told."""

from __future__ import annotations

import gzip
import json

import pytest

from flowprune.core.errors import PruningError
from flowprune.experiments.archive import ROWS, RUNS, Archive
from flowprune.experiments.folder import RunFolder, open_folder
from flowprune.experiments.spec import override, parse
from flowprune.experiments.store import read, records

BASE = parse({"model": {"name": "mlp"}, "data": {"name": "digits"}, "prune": {"measure": "magnitude"}})


def finished(root, seed, accuracy=0.5):
    """A run folder as a job leaves it, without its model."""
    folder = open_folder(override(BASE, {"seed": seed}), root, print)
    folder.write_environment({"torch": "2"})
    folder.rows.append({"kind": "epoch", "epoch": 1, "train_loss": 0.1 * seed})
    folder.rows.append({"kind": "scatter", "epoch": 1, "layers": ["a"], "first": [0.5, -1.5]})
    folder.rows.append({"kind": "result", "test_accuracy_final": accuracy})
    folder.finish()
    return folder


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "runs"
    for seed in (0, 1):
        finished(root, seed)
    return root


def by_run(rows):
    return sorted(rows, key=lambda row: (row["run"], row["kind"]))


def test_an_archive_reads_as_the_runs_did(runs, tmp_path):
    archive = Archive(tmp_path / "kept")
    merged = archive.merge(records(runs))
    assert len(merged.added) == 2
    assert by_run(read(archive.path)) == by_run(read(runs))
    assert read(archive.path, "result")[0]["seed"] in (0, 1)
    assert read(archive.path, "scatter")[0]["first"] == [0.5, -1.5]
    assert {r.environment["torch"] for r in archive.records} == {"2"}


def test_a_run_is_collected_once_and_stays_as_it_was(runs, tmp_path):
    archive = Archive(tmp_path / "kept")
    archive.merge(records(runs))
    before = (archive.path / ROWS).read_bytes()
    again = tmp_path / "again"
    finished(again, 1, accuracy=0.9)
    finished(again, 2)
    merged = archive.merge(records(again))
    assert (len(merged.added), len(merged.known)) == (1, 1)
    values = {row["seed"]: row["test_accuracy_final"] for row in read(archive.path, "result")}
    assert values == {0: 0.5, 1: 0.5, 2: 0.5}
    assert (archive.path / ROWS).read_bytes() != before


def test_the_same_runs_give_the_same_bytes_in_whatever_order(runs, tmp_path):
    one, two = Archive(tmp_path / "one"), Archive(tmp_path / "two")
    found = records(runs)
    one.merge(found)
    for record in reversed(found):
        two.merge([record])
    for name in (RUNS, ROWS):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()


def test_archives_merge_with_each_other_and_beside_folders(runs, tmp_path):
    archive = Archive(tmp_path / "kept")
    archive.merge(records(runs))
    other = tmp_path / "other"
    finished(other, 3)
    assert {row["seed"] for row in read([archive.path, other], "result")} == {0, 1, 3}
    assert len(read([archive.path, runs], "result")) == 2  # a run in both is read once
    whole = Archive(tmp_path / "whole")
    whole.merge(records([archive.path, other]))
    assert {row["seed"] for row in read(whole.path, "result")} == {0, 1, 3}


def test_damage_is_told_before_anything_is_merged(runs, tmp_path):
    archive = Archive(tmp_path / "kept")
    archive.merge(records(runs))
    path = archive.path / ROWS
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(PruningError, match="damaged or missing"):
        archive.merge([])
    lines = gzip.decompress(whole).decode().splitlines()
    changed = [line.replace("0.5", "0.7") if "result" in line else line for line in lines]
    path.write_bytes(gzip.compress("\n".join(changed).encode()))
    with pytest.raises(PruningError, match="not what they were"):
        archive.merge([])
    path.write_bytes(whole)
    (archive.path / RUNS).write_text("{")
    with pytest.raises(PruningError, match="is damaged"):
        read(archive.path)


def test_damage_is_told_by_whatever_reads_an_archive(runs, tmp_path):
    """Edited rows, packed again, would be believed otherwise."""
    archive = Archive(tmp_path / "kept")
    archive.merge(records(runs))
    path = archive.path / ROWS
    whole = path.read_bytes()
    edited = gzip.decompress(whole).decode().replace('"test_accuracy_final": 0.5', '"test_accuracy_final": 0.123')
    for damaged, said in (
        (gzip.compress(edited.encode()), "not what they were"),
        (b"no archive at all", "damaged or missing"),
        (whole[:30] + b"x" * 40 + whole[70:], "damaged"),
        (gzip.compress(b"\xff\xfe"), "damaged"),
        (gzip.compress(b"[1]\n"), "damaged"),
        (gzip.compress(b'{"kind": "result"}\n'), "damaged"),
    ):
        path.write_bytes(damaged)
        for read_it in (read, records, lambda where: Archive(where).records):
            with pytest.raises(PruningError, match=said):
                read_it(archive.path)
    path.unlink()
    with pytest.raises(PruningError, match="damaged or missing"):
        read(archive.path)


@pytest.mark.parametrize(
    "line",
    ['{"run": "x"}', '["run"]', '{"run": 1, "spec": {}, "environment": {}, "latency": null, "rows": 0, "sha256": ""}',
     '{"run": "x", "spec": {}, "environment": {}, "latency": null, "rows": 0, "sha256": ""}'],
)  # fmt: skip
def test_a_line_of_no_run_is_damage(runs, tmp_path, line):
    archive = Archive(tmp_path / "kept")
    archive.merge(records(runs))
    (archive.path / RUNS).write_text(line + "\n")
    with pytest.raises(PruningError, match=r"runs\.jsonl is damaged: (line 1|the spec of run x)"):
        records(archive.path)


def test_a_question_is_answered_once_on_whichever_machine(runs, tmp_path):
    archive = Archive(tmp_path / "kept")
    archive.merge(records(runs))
    other = override(BASE, {"seed": 1, "device": "cuda", "execution.precision": "bfloat16"})
    folder = open_folder(other, tmp_path / "other", print)
    folder.rows.append({"kind": "result", "test_accuracy_final": 0.9})
    folder.finish()
    finished(tmp_path / "other", 2)
    merged = archive.merge(records(tmp_path / "other"))
    assert (len(merged.added), merged.answered) == (1, (other.run_id,))
    assert {row["seed"]: row["test_accuracy_final"] for row in read(archive.path, "result")} == {0: 0.5, 1: 0.5, 2: 0.5}
    again = Archive(tmp_path / "again")
    both = [*records(runs), *records(tmp_path / "other")]
    assert again.merge(both) == Archive(tmp_path / "turned").merge(reversed(both))


def test_an_archive_is_read_once_however_many_runs_it_gives(tmp_path, monkeypatch):
    root = tmp_path / "runs"
    for seed in range(4):
        finished(root, seed)
    source = Archive(tmp_path / "source")
    source.merge(records(root))
    reads = []
    real = gzip.decompress
    monkeypatch.setattr(gzip, "decompress", lambda data: (reads.append(len(data)), real(data))[1])
    Archive(tmp_path / "target").merge(records(source.path))
    assert len(reads) <= 2  # checked, then taken


def test_an_unfinished_run_is_not_collected(tmp_path):
    folder = open_folder(BASE, tmp_path, print)
    folder.rows.append({"kind": "epoch", "epoch": 1})
    with pytest.raises(ValueError, match="finished runs"):
        records(tmp_path)
    assert isinstance(folder, RunFolder)


def test_the_run_line_holds_the_whole_spec(runs, tmp_path):
    archive = Archive(tmp_path / "kept")
    archive.merge(records(runs))
    lines = [json.loads(line) for line in (archive.path / RUNS).read_text().splitlines()]
    assert {parse(line["spec"]).run_id for line in lines} == {line["run"] for line in lines}
