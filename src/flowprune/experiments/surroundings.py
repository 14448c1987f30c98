"""What a process finds around it, gathered without importing anything heavy: the evidence of ``flowprune doctor``."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from flowprune.core.extras import EXTRAS, missing
from flowprune.data.files import data_root
from flowprune.experiments.machine import VISIBLE, cores, require_writable

SECONDS = 120
"""Longest time an import may take."""
DRIVER = ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/nvidiactl")
"""One of these is there where the driver of an NVIDIA GPU is loaded."""
TORCH = """
import json, torch
cuda = torch.cuda
print(json.dumps({
    "build": f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}" if torch.version.hip
        else "CPU",
    "devices": [cuda.get_device_name(i) for i in range(cuda.device_count())] if cuda.is_available() else [],
    "threads": torch.get_num_threads(),
}))
"""


@dataclass(frozen=True)
class Torch:
    """What PyTorch says of itself, in a process of its own.

    Attributes:
        build: ``"CPU"``, or such as ``"CUDA 13.0"``.
        devices: Names of the GPUs it sees.
        threads: It uses within an operation.
    """

    build: str
    devices: tuple[str, ...]
    threads: int


@dataclass(frozen=True)
class Surroundings:
    """An environment.

    Attributes:
        python: Version of the interpreter.
        required: Packages that are needed, by name, with the lowest version that does.
        installed: Versions of those and of torchvision; packages that are not installed are left out.
        torch: What it says; None where it cannot be imported.
        torch_error: Why not.
        torchvision_wants: The torch it was made for, by its metadata, such as ``"2.14.0"``.
        torchvision_error: Why it cannot be imported; None where it can, or is not installed.
        absent: Modules that are not there, by extra.
        driver: Whether the driver of an NVIDIA GPU is loaded.
        visible: ``CUDA_VISIBLE_DEVICES``, if it is set.
        cores: That this process may use.
        glibc: Whether the C library is glibc, whose allocator can be set.
        tunables: ``GLIBC_TUNABLES``, if it is set.
        compiler: Whether there is a C++ compiler.
        data: The data folder.
        datasets: What is in it; None where there is no such folder, or it cannot be read.
        runs: Where run folders go.
        runs_error: Why nothing can be written there.
    """

    python: tuple[int, ...]
    required: Mapping[str, str]
    installed: Mapping[str, str]
    torch: Torch | None
    torch_error: str | None
    torchvision_wants: str | None
    torchvision_error: str | None
    absent: Mapping[str, tuple[str, ...]]
    driver: bool
    visible: str | None
    cores: int
    glibc: bool
    tunables: str | None
    compiler: bool
    data: Path
    datasets: tuple[str, ...] | None
    runs: Path
    runs_error: str | None


def survey(runs: Path, data_dir: Path | None = None) -> Surroundings:
    """Look around. PyTorch and torchvision are imported in processes of their own, for they may fail or crash."""
    required = _required()
    installed = _installed([*required, "torchvision"])
    told, torch_error = _try(TORCH) if "torch" in installed else ("", None)
    facts = json.loads(told) if told else None
    vision_error = _try("import torchvision")[1] if "torchvision" in installed else None
    data = data_root(data_dir)
    return Surroundings(
        python=tuple(sys.version_info[:3]),
        required=required,
        installed=installed,
        torch=None if facts is None else Torch(facts["build"], tuple(facts["devices"]), facts["threads"]),
        torch_error=torch_error,
        torchvision_wants=_wants("torchvision", "torch"),
        torchvision_error=vision_error,
        absent={extra: missing(extra) for extra in EXTRAS},
        driver=any(Path(path).exists() for path in DRIVER),
        visible=os.environ.get(VISIBLE),
        cores=cores(),
        glibc=platform.libc_ver()[0] == "glibc",
        tunables=os.environ.get("GLIBC_TUNABLES"),
        compiler=any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")),
        data=data,
        datasets=_listed(data),
        runs=runs,
        runs_error=_refused(runs),
    )


def _required() -> dict[str, str]:
    """What this package depends on, with the lowest versions; nothing where it runs without being installed."""
    try:
        lines = requires("flowprune") or []
    except PackageNotFoundError:
        return {"torch": "2.11"}
    found = (re.match(r"([\w.-]+)\s*(?:>=\s*([\d.]+))?", line) for line in lines if "extra ==" not in line)
    return {match[1]: match[2] or "0" for match in found if match}


def _installed(names: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _wants(package: str, other: str) -> str | None:
    """The exact version of another package that a package is made for."""
    try:
        lines = requires(package) or []
    except PackageNotFoundError:
        return None
    found = (re.match(rf"{other}\s*\(?==\s*([\w.+]+)", line) for line in lines)
    return next((match[1] for match in found if match), None)


def _try(script: str) -> tuple[str, str | None]:
    """What a script prints, or the last line of its error, run by this interpreter in a process of its own."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"it takes more than {SECONDS} s"
    if done.returncode == 0:
        return done.stdout.strip().rpartition("\n")[2], None
    lines = done.stderr.strip().splitlines()
    return "", lines[-1] if lines else f"the process ended with code {done.returncode}"


def _listed(folder: Path) -> tuple[str, ...] | None:
    try:
        return tuple(sorted(each.name for each in folder.iterdir()))
    except OSError:
        return None


def _refused(runs: Path) -> str | None:
    try:
        require_writable("--runs", runs, folder=True)
    except ValueError as error:
        return str(error)
    return None
