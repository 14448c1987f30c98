"""Whether this machine can do what a spec asks for; told before anything is computed or written."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from flowprune.experiments.spec import Spec

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that says which devices a process sees."""


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_devices() -> tuple[str, ...]:
    """The CUDA devices this process may use, by the names that CUDA_VISIBLE_DEVICES knows them by."""
    import torch

    listed = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return tuple(listed or map(str, range(torch.cuda.device_count())))


@contextmanager
def whole_float32() -> Generator[None]:
    """Convolutions and products of float32 inside are of float32: CUDA's default for convolutions keeps ten bits of it.

    Scores, Hessian products and evaluations then agree with those of a CPU; training in half precision is not touched.
    """
    import torch

    # The older names: torch.export reads them, and refuses a process that has set the newer ones.
    convolutions: Any = torch.backends.cudnn  # its attributes are made at run time
    products: Any = torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def require_machine(spec: Spec) -> None:
    """Raise where a spec asks for more threads than there are cores, or for a device that is not there.

    Raises:
        ValueError: naming the field.
    """
    if spec.threads > cores():
        raise invalid("Spec(threads)", f"at most the {cores()} cores this process may use", spec.threads)
    kind, _, number = spec.device.partition(":")
    if kind == "cpu":
        return
    import torch

    count = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    if int(number or 0) >= count:
        there = f"{kind} devices: {count}" if count else f"this PyTorch ({torch.__version__}) finds no {kind} device"
        raise invalid("Spec(device)", "a device of this machine", spec.device, f"Use device = 'cpu'; {there}.")


def require_writable(where: str, path: Path, *, folder: bool) -> None:
    """Raise where a file, or files in a folder, cannot be written: found out before hours of work, not after.

    Raises:
        ValueError: naming the path.
    """
    wanted = "a folder" if folder else "a file"
    if path.exists() and path.is_dir() != folder:
        raise invalid(where, wanted, str(path), f"That is {'a file' if folder else 'a folder'}.")
    place = next(
        parent for parent in ((path, *path.parents) if path.exists() else path.absolute().parents) if parent.exists()
    )
    if (place != path and not place.is_dir()) or not os.access(place, os.W_OK):
        raise invalid(where, f"{wanted} that can be written", str(path), f"{place} cannot be written to.")
