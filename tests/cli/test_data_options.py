"""Where the data are: ``--data-dir`` and ``flowprune download``."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import flowprune as fp
from flowprune.cli.main import application
from flowprune.data.files import OFFLINE, VARIABLE
from flowprune.data.origins import ORIGINS, Remote
from tests.data import publish
from tests.data.serving import serving

SPEC = """
name = "tiny"
[model]
name = "mlp"
options = { widths = [12, 8] }
[data]
name = "mnist"
[train]
epochs = "2ep"
batch = 16
[prune]
measure = "magnitude"
sparsity = 0.5
samples = 16
[record]
flow = "none"
"""


def call(*arguments, code=0):
    result = CliRunner().invoke(application(), [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder; the variable, set to another, is put back afterwards."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "elsewhere"))
    publish.mnist(tmp_path / "data" / "mnist")
    return tmp_path / "data"


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


@pytest.mark.parametrize("command", [["score"], ["analyse"], ["prune", "--sparsity", 0.5]])
def test_the_folder_is_heard(data, tmp_path, command):
    options = ("--model", "mlp", "--dataset", "mnist", "--samples", 16, "--granularity", "weights")
    out = ("--out", tmp_path / "out") if command[0] == "prune" else ()
    assert "elsewhere" in call(*command, *options, *out, code=2)
    assert call(*command, *options, *out, "--data-dir", data)
    assert os.environ[VARIABLE] == str(data)


def test_a_run_is_the_same_wherever_its_data_are(data, spec, tmp_path, monkeypatch):
    call("run", spec, "--runs", tmp_path / "a", "--data-dir", data)
    monkeypatch.chdir(tmp_path)
    data.rename(tmp_path / "moved")
    call("run", spec, "--runs", tmp_path / "b", "--data-dir", "moved")
    (first,), (second,) = (list((tmp_path / name).iterdir()) for name in ("a", "b"))
    assert first.name == second.name
    told = [json.loads((folder / "spec.json").read_text()) for folder in (first, second)]
    assert told[0]["spec"] == told[1]["spec"]
    assert "moved" not in json.dumps(told)


def test_the_workers_of_a_sweep_hear_it(data, spec, tmp_path):
    call("sweep", spec, "--runs", tmp_path / "runs", "--axis", "seed=0,1", "--jobs", 2, "--data-dir", data)
    folders = list((tmp_path / "runs").iterdir())
    assert [fp.experiments.RunFolder(path).finished for path in folders] == [True, True]


def test_a_missing_folder_and_missing_files_are_one_line(data, spec, tmp_path):
    said = call("run", spec, "--runs", tmp_path / "runs", "--data-dir", tmp_path / "typo", code=2)
    assert f"--data-dir must be a folder; got '{tmp_path / 'typo'}'. Make it, or fill it with: flowprune" in said
    said = call("score", "--dataset", "cifar10", "--data-dir", data, code=2)
    assert len(said.strip().splitlines()) == 1
    assert f"Run: flowprune download cifar10 --data-dir {data}," in said
    assert not (tmp_path / "runs").exists()


def test_download(tmp_path, monkeypatch):
    publish.mnist(tmp_path / "there", packed=True)
    monkeypatch.delenv(OFFLINE)
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        remotes = []
        for each in ORIGINS["mnist"].remotes:
            raw = (tmp_path / "there" / each.name).read_bytes()
            server.files[f"/{each.name}"] = raw
            remotes.append(Remote(f"{server.address}/{each.name}", len(raw), hashlib.sha256(raw).hexdigest()))
        monkeypatch.setitem(ORIGINS, "mnist", replace(ORIGINS["mnist"], remotes=tuple(remotes)))
        said = call("download", "mnist", "--data-dir", tmp_path / "new")
        assert said.splitlines()[-1] == f"mnist: {tmp_path / 'new' / 'mnist'}"
        assert "train-images-idx3-ubyte.gz: " in said
        assert call("download", "mnist", "--data-dir", tmp_path / "new").splitlines() == said.splitlines()[-1:]
        assert len(server.asked) == 4
        assert fp.data.mnist(tmp_path / "new").fingerprint == fp.data.mnist(tmp_path / "there").fingerprint
        server.files.clear()
        assert "404" in call("download", "mnist", "--data-dir", tmp_path / "other", code=2)
    assert "Known: cifar10, cifar100" in call("download", "imagenet", code=2)
