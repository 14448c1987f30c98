"""The doctor on fabricated environments: each fault is found, named, and comes with what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flowprune.experiments import surroundings
from flowprune.experiments.diagnosis import diagnose, numbers
from flowprune.experiments.surroundings import Surroundings, Torch, survey

HEALTHY = Surroundings(
    python=(3, 12, 1),
    required={"torch": "2.11", "numpy": "2.0"},
    installed={"torch": "2.13.0+cpu", "numpy": "2.4.6"},
    torch=Torch("CPU", (), 2),
    torch_error=None,
    torchvision_wants=None,
    torchvision_error=None,
    absent={"hf": (), "onnx": ()},
    driver=False,
    visible=None,
    cores=2,
    glibc=False,
    tunables=None,
    compiler=True,
    data=Path("data"),
    datasets=("mnist",),
    runs=Path("runs"),
    runs_error=None,
)


def findings(**changes):
    return {(each.level, each.said, each.todo) for each in diagnose(replace(HEALTHY, **changes))}


def new(**changes):
    """What is said of an environment that is not said of the healthy one."""
    return sorted(findings(**changes) - findings())


def test_a_healthy_environment_has_no_problem():
    levels = [each.level for each in diagnose(HEALTHY)]
    assert "problem" not in levels
    assert levels.count("note") == 1  # no GPU


CUDA = {"torch": Torch("CUDA 13.0", (), 2)}


@pytest.mark.parametrize(
    ("changes", "level", "said", "todo"),
    [
        ({"python": (3, 10, 4)}, "problem", "Python 3.10.4", "3.11 or later"),
        (
            {"installed": {"torch": "2.9.1", "numpy": "2.4"}},
            "problem",
            "torch 2.9.1 (needs 2.11)",
            "install 'torch>=2.11'.",
        ),
        ({"installed": {"torch": "2.13.0"}}, "problem", "numpy missing (needs 2.0)", "'numpy>=2.0'"),
        ({"torch": None, "torch_error": "OSError: libgomp"}, "problem", "libgomp", "--force-reinstall torch"),
        ({"driver": True}, "note", "this torch is built for the CPU", "CUDA build"),
        ({"driver": True, **CUDA}, "problem", "torch for CUDA 13.0 sees none", "nvidia-smi"),
        ({"driver": True, "visible": "", **CUDA}, "note", "CUDA_VISIBLE_DEVICES=''", "Unset"),
        ({"torch": Torch("CUDA 13.0", ("H100",), 2), "driver": True}, "ok", "GPU: H100", ""),
        ({"absent": {"hf": (), "onnx": ("onnxscript",)}}, "note", "without onnxscript", "'flowprune[onnx]'"),
        ({"cores": 1}, "problem", "torch uses 2, this process may use 1 cores", "OMP_NUM_THREADS=1"),
        ({"cores": 8}, "note", "may use 8 cores", "OMP_NUM_THREADS=8"),
        ({"glibc": True}, "note", "allocator", "GLIBC_TUNABLES=glibc.malloc.mmap_max=0"),
        ({"glibc": True, "tunables": "glibc.malloc.mmap_max=0"}, "ok", "keeps freed memory", ""),
        ({"compiler": False}, "note", "fp.compile needs one", "g++"),
        ({"datasets": None}, "note", "no folder data", "flowprune download"),
        ({"datasets": ()}, "note", "data is empty", "flowprune download"),
        ({"runs_error": "--runs must be a folder"}, "problem", "--runs must be a folder", "--runs"),
    ],
)
def test_a_fault_is_told_with_what_to_do(changes, level, said, todo):
    told = [each for each in new(**changes) if said in each[1]]
    assert len(told) == 1
    assert told[0][0] == level
    assert todo in told[0][2]


VISION = {"torch": "2.13.0+cpu", "numpy": "2.4.6", "torchvision": "0.28.0"}


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"torchvision_error": "RuntimeError: torchvision::nms"}, "problem", "cannot be imported: RuntimeError"),
        (
            {"torchvision_error": "ImportError", "torchvision_wants": "2.14.0"},
            "problem",
            "ImportError; it is made for torch 2.14.0",
        ),
        ({"torchvision_wants": "2.14.0"}, "note", "it is made for torch 2.14.0"),
        ({"torchvision_wants": "2.13.0"}, "ok", "torchvision 0.28.0 beside torch 2.13.0+cpu"),
    ],
)
def test_torchvision_that_does_not_fit(changes, level, said):
    told = new(installed=VISION, **changes)
    assert [each[0] for each in told] == [level]
    assert said in told[0][1]
    assert level == "ok" or "pip uninstall torchvision" in told[0][2]


def test_versions_are_compared_as_numbers():
    assert numbers("2.9.1") < numbers("2.11") <= numbers("2.11.0+cu130")
    assert numbers("unknown") == ()


def test_this_environment(tmp_path):
    found = survey(tmp_path / "runs", tmp_path)
    assert found.torch is not None
    assert found.torch.threads >= 1
    assert "torch" in found.required
    assert found.datasets == ()
    assert found.runs_error is None
    assert not (tmp_path / "runs").exists()
    told = {each.said.split()[0]: each.level for each in diagnose(found)}  # its threads and GPU are its own affair
    assert [told[name] for name in ("Python", "packages:", "torch", "runs:")] == ["ok"] * 4


def test_a_package_that_crashes_does_not_take_the_doctor_with_it():
    assert surroundings._try("import os; os.abort()") == ("", "the process ended with code -6")
    told, error = surroundings._try("print('noise'); print('{}')")
    assert (told, error) == ("{}", None)
    assert surroundings._try("import a_module_that_is_nowhere")[1].startswith("ModuleNotFoundError")


def test_a_package_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(surroundings, "SECONDS", 0.5)
    assert surroundings._try("import time; time.sleep(60)")[1] == "it takes more than 0.5 s"


def test_what_a_package_wants_is_read_from_its_metadata(monkeypatch):
    monkeypatch.setattr(surroundings, "requires", lambda name: ["numpy", "torch==2.14.0; extra == 'x'", "torch (==3)"])
    assert surroundings._wants("torchvision", "torch") == "2.14.0"
    assert surroundings._wants("torchvision", "other") is None


def test_needed_packages_are_those_of_the_project(monkeypatch):
    lines = ["torch>=2.11", "numpy >=2.0", "rich", "pytest>=9; extra == 'dev'"]
    monkeypatch.setattr(surroundings, "requires", lambda name: lines)
    assert surroundings._required() == {"torch": "2.11", "numpy": "2.0", "rich": "0"}
