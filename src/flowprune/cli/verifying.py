"""What ``flowprune verify`` prints of each kind of thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from torch import nn

    from flowprune.artefacts.manifest import Kind
    from flowprune.plan.verifying import Verified

Build = Callable[[], "nn.Module"]


def plan(path: Path, build: Build | None) -> Iterator[str]:
    """The folder of a plan."""
    from flowprune.plan import verify

    found = verify(path, build)
    yield from _told(found)
    if build is None:
        yield "Not loaded: --model says how the dense model is built."


def _told(found: Verified) -> Iterator[str]:
    known = found.plan
    kinds = ", ".join(each.kind for each in known.operations) or "nothing cut"
    gone = "" if known.sparsity is None else f"; sparsity {known.sparsity:.4f}"
    yield f"{known.model_class}: {kinds}{f' by {known.measure}' if known.measure else ''}{gone}"
    yield f"parameters {found.parameters_dense:,} -> {found.parameters:,}" + (
        "" if found.nonzeros is None else f", of these non-zero {found.nonzeros:,}"
    )
    yield "; ".join(f"{name} {size:,} bytes" for name, size in found.bytes.items())
    yield f"Checked: {', '.join(found.checks)}."


def masks(path: Path, build: Build | None) -> Iterator[str]:
    """Masks that were saved alone."""
    from flowprune.core.fingerprint import fingerprint
    from flowprune.masks import Masks

    found = Masks.load(path)
    yield f"{found!r}"
    if build is not None:
        own = fingerprint(dict(build().named_parameters()))
        if found.fingerprint not in (None, own):
            raise invalid(
                "--model", f"the model of these masks, {found.fingerprint}", own, "Its names or shapes differ."
            )
    yield f"Checked: checksum, version{'' if build is None else ', architecture'}."


def onnx(path: Path, build: Build | None) -> Iterator[str]:
    """An ONNX file."""
    from flowprune.artefacts import verify_onnx

    yield from _artefact(path, build, "onnx", verify_onnx)


def program(path: Path, build: Build | None) -> Iterator[str]:
    """A program of ``torch.export``."""
    from flowprune.artefacts import verify_program

    yield from _artefact(path, build, "program", verify_program)


def _artefact(path: Path, build: Build | None, kind: Kind, check: Callable[[Path], tuple[str, ...]]) -> Iterator[str]:
    """A file that runs without the model, with the JSON beside it."""
    from flowprune.artefacts.manifest import read

    if build is not None:
        raise invalid(
            "--model", f"left out with {path.suffix}", "a model", "The file is run as it is, without the model."
        )
    checks, found = check(path), read("verify PATH", path, kind)
    shapes = [", ".join(f"{each.dtype} {each.shape}" for each in side) for side in (found.inputs, found.outputs)]
    yield f"{' -> '.join(shapes)}{'; any number of examples' if found.dynamic_batch else ''}"
    yield f"{found.bytes:,} bytes; at most {found.difference:.1g} off the model when it was made"
    yield f"Checked: {', '.join(checks)}."


def weights(path: Path, build: Build | None) -> Iterator[str]:
    """A file of tensors."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from flowprune.core.tensors import require_finite
    from flowprune.experiments.pruned import load_pruned

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise invalid("verify PATH", "a safetensors file", str(path), f"It cannot be read: {error}.") from None
    require_finite(str(path), tensors)
    if build is not None:
        load_pruned(build(), path, where="verify PATH")
    yield f"{len(tensors)} tensors, {sum(value.numel() for value in tensors.values()):,} numbers"
    yield f"{path.stat().st_size:,} bytes"
    yield f"Checked: readable, finite{'' if build is None else ', loads'}."
