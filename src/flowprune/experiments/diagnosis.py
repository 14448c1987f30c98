"""What is wrong with an environment, and what to do about it: pure, from what was found."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from flowprune.core.extras import command
from flowprune.experiments.surroundings import Surroundings

Level = Literal["ok", "note", "problem"]
OLDEST_PYTHON = (3, 11)
ALLOCATOR = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=2147483647"
"""Keeps freed memory with the process, so that large temporaries are not faulted in anew by every pass."""
PURPOSE = {"hf": "models of transformers (--model hf:...)", "onnx": "fp.export_onnx and flowprune verify *.onnx"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: ``"problem"`` where something does not work, ``"note"`` where it could be better or is worth knowing.
        said: What was found.
        todo: What to do; empty where there is nothing to do.
    """

    level: Level
    said: str
    todo: str = ""


def diagnose(found: Surroundings) -> list[Finding]:
    """All findings, in the order in which they matter.

    Args:
        found: The environment; see :func:`flowprune.experiments.surroundings.survey`.
    """
    checks = (_python, _packages, _torch, _gpu, _torchvision, _extras, _threads, _allocator, _compiler, _data, _runs)
    return [finding for check in checks for finding in check(found)]


def _python(found: Surroundings) -> Iterator[Finding]:
    said = f"Python {'.'.join(map(str, found.python))}"
    if found.python[:2] < OLDEST_PYTHON:
        yield Finding("problem", said, "Python 3.11 or later is needed: python3.12 -m venv .venv, and install again.")
    else:
        yield Finding("ok", said)


def _packages(found: Surroundings) -> Iterator[Finding]:
    """Required packages, PyTorch among them."""
    wrong = [
        f"{name} {found.installed.get(name, 'missing')} (needs {least})"
        for name, least in found.required.items()
        if name not in found.installed or numbers(found.installed[name]) < numbers(least)
    ]
    if wrong:
        words = " ".join(shlex.quote(f"{word.split()[0]}>={found.required[word.split()[0]]}") for word in wrong)
        yield Finding("problem", f"packages: {', '.join(wrong)}", f"Run: pip install {words}.")
    else:
        yield Finding("ok", f"packages: all {len(found.required)} that are needed")


def _torch(found: Surroundings) -> Iterator[Finding]:
    have = found.installed.get("torch")
    if have is None:
        return  # a package that is missing, told above
    if found.torch is None:
        todo = "Install it again: pip install --force-reinstall torch."
        yield Finding("problem", f"torch {have} cannot be imported: {found.torch_error}", todo)
    else:
        yield Finding("ok", f"torch {have}, built for {found.torch.build}")


def _gpu(found: Surroundings) -> Iterator[Finding]:
    """Whether a GPU that is there is used."""
    if found.torch is None:
        return
    if found.torch.devices:
        yield Finding("ok", f"GPU: {', '.join(found.torch.devices)}")
    elif found.visible is not None and found.driver:
        todo = "Unset the variable to use the GPUs."
        yield Finding("note", f"GPU: none visible, CUDA_VISIBLE_DEVICES={found.visible!r}", todo)
    elif found.driver and found.torch.build == "CPU":
        todo = "Install a CUDA build of torch, as pytorch.org says for this driver, to use it."
        yield Finding("note", "GPU: an NVIDIA driver is loaded, and this torch is built for the CPU", todo)
    elif found.driver:
        todo = f"The driver must be one for {found.torch.build}: see nvidia-smi, and update it or take another torch."
        yield Finding("problem", f"GPU: an NVIDIA driver is loaded, and torch for {found.torch.build} sees none", todo)
    else:
        yield Finding("note", "GPU: none; everything runs on the CPU")


def _torchvision(found: Surroundings) -> Iterator[Finding]:
    """It is never imported here, but transformers and timm do, and fail with it."""
    have, torch = found.installed.get("torchvision"), found.installed.get("torch", "missing")
    if have is None:
        yield Finding("ok", "torchvision: not installed, and not needed")
        return
    wants = found.torchvision_wants
    fits = wants is None or numbers(wants)[:3] == numbers(torch)[:3]
    beside = f"torchvision {have} beside torch {torch}"
    made = "" if fits else f"; it is made for torch {wants}"
    todo = "Run: pip uninstall torchvision (nothing here needs it), or install the build made for this torch."
    if found.torchvision_error is not None:
        yield Finding("problem", f"{beside} cannot be imported: {found.torchvision_error}{made}", todo)
    elif not fits:
        yield Finding("note", f"{beside}{made}", todo)
    else:
        yield Finding("ok", beside)


def _extras(found: Surroundings) -> Iterator[Finding]:
    for extra, absent in found.absent.items():
        if absent:
            said = f"extra {extra!r}: without {', '.join(absent)}; needed for {PURPOSE.get(extra, extra)}"
            yield Finding("note", said, command(extra))
        else:
            yield Finding("ok", f"extra {extra!r}")


def _threads(found: Surroundings) -> Iterator[Finding]:
    if found.torch is None:
        return
    said = f"threads: torch uses {found.torch.threads}, this process may use {found.cores} cores"
    if found.torch.threads > found.cores:
        yield Finding("problem", said, f"Threads wait for each other: export OMP_NUM_THREADS={found.cores}.")
    elif found.torch.threads < found.cores:
        todo = f"For a single run: export OMP_NUM_THREADS={found.cores}; a sweep fills the cores with runs."
        yield Finding("note", said, todo)
    else:
        yield Finding("ok", said)


def _allocator(found: Surroundings) -> Iterator[Finding]:
    """Worth it on a CPU only; measured in benchmarks/signals.py."""
    if not found.glibc or (found.torch is not None and found.torch.devices):
        return
    if "mmap_max=0" in (found.tunables or ""):
        yield Finding("ok", "allocator: glibc keeps freed memory")
    else:
        todo = f"To try it: export GLIBC_TUNABLES={ALLOCATOR}."
        yield Finding("note", "allocator: glibc gives large blocks back at every free; scoring is faster without", todo)


def _compiler(found: Surroundings) -> Iterator[Finding]:
    if found.compiler:
        yield Finding("ok", "C++ compiler, for fp.compile")
    else:
        yield Finding("note", "C++ compiler: none; fp.compile needs one on a CPU", "Install g++ or clang.")


def _data(found: Surroundings) -> Iterator[Finding]:
    if found.datasets is None:
        todo = "It is made by: flowprune download NAME. The digits of the demo need none."
        yield Finding("note", f"data: there is no folder {found.data} that can be read", todo)
    elif not found.datasets:
        yield Finding("note", f"data: {found.data} is empty", "Fill it with: flowprune download NAME.")
    else:
        more = f" and {len(found.datasets) - 8} more" if len(found.datasets) > 8 else ""
        yield Finding("ok", f"data: {found.data}: {', '.join(found.datasets[:8])}{more}")


def _runs(found: Surroundings) -> Iterator[Finding]:
    if found.runs_error is not None:
        yield Finding(
            "problem", f"runs: {found.runs_error}", "Name another folder with --runs, or mend its permissions."
        )
    else:
        yield Finding("ok", f"runs: {found.runs} can be written")


def numbers(text: str) -> tuple[int, ...]:
    """The numbers of a version, what follows the release left out.

    Example:
        >>> numbers("2.13.0+cpu"), numbers("2.11") <= numbers("2.11.0rc1")
        ((2, 13, 0), True)
    """
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
