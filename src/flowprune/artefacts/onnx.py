"""A model as an ONNX file, which many runtimes run without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.artefacts.agreement import TOLERANCE
from flowprune.artefacts.exporting import Source, calm, export, source
from flowprune.artefacts.manifest import Artefact, checked_path
from flowprune.artefacts.publishing import Run, publish
from flowprune.artefacts.verification import verify
from flowprune.core.errors import PruningError, first_line
from flowprune.core.extras import require_extra
from flowprune.structure.cost import file_bytes

WHOLE = 1 << 30
"""Bytes of weights up to which they lie in the file itself; a protobuf file ends at 2 GiB."""


def export_onnx(
    model: nn.Module,
    example_inputs: object,
    path: Path | str,
    *,
    dynamic_batch: bool = False,
    tolerance: float = TOLERANCE,
) -> Artefact:
    """Write a model as ONNX, run it with onnxruntime, and compare it with the model.

    The graph is that of ``torch.export``, of evaluation mode, on the CPU. Records of outputs become a plain list of
    tensors; what is no tensor, such as a cache of past keys, is left out.

    Args:
        model: Stays as it is: a copy is exported, without hooks that are not PyTorch's own.
        example_inputs: What it is called with; their shapes are those of the file.
        path: Ends in ``.onnx``. ``<path>.json`` is written beside it: checksums, shapes, versions; and
            ``<path>.data`` where the weights are larger than 1 GiB.
        dynamic_batch: Let it take any number of examples; tried with three. All tensors of which the first axis is as
            long as the first tensor's count examples.
        tolerance: The largest difference that is accepted, as a fraction of the largest output.

    Raises:
        ValueError: no module, no tensor in the inputs, or a path with another suffix or in no folder.
        PruningError: the extra ``onnx`` is not installed, the model cannot be captured or has an operation that ONNX
            lacks, or onnxruntime does not give what the model gives. Nothing is written then.

    Example:
        ``fp.export_onnx(small, x, "small.onnx", dynamic_batch=True).difference``
    """
    path = checked_path("export_onnx", path, "onnx")
    require_extra("export_onnx()", "onnx")
    made_from = source("export_onnx", model, example_inputs, dynamic_batch=dynamic_batch, cpu=True)
    return publish(
        path, "onnx", made_from, build=lambda file: _build(made_from, file), load=load_onnx, tolerance=tolerance
    )


def verify_onnx(path: Path | str) -> tuple[str, ...]:
    """Check a file that :func:`export_onnx` wrote: files, checksums, that it loads, runs and gives what it gave.

    Returns:
        What was checked; see :func:`flowprune.artefacts.verification.verify`.

    Raises:
        PruningError: the extra ``onnx`` is not installed, or the first check that failed.

    Example:
        ``fp.verify_onnx("small.onnx")`` gives ``("whole", "hash", "loads", "runs", "finite", "same numbers")``
    """
    require_extra("verify_onnx()", "onnx")
    return verify("verify_onnx", path, "onnx", load=load_onnx)


def load_onnx(path: Path) -> Run:
    """The file as a function of its input tensors, run by onnxruntime on the CPU."""
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        if len(names) != len(tensors):
            raise PruningError(f"The ONNX file must take the model's {len(tensors)} tensors; it takes {len(names)}.")
        arrays = {name: tensor.detach().numpy() for name, tensor in zip(names, tensors, strict=True)}
        return [torch.from_numpy(array) for array in session.run(None, arrays)]

    return run


def _build(made_from: Source, path: Path) -> None:
    program = export("export_onnx", made_from)
    outside = file_bytes(made_from.model) > WHOLE
    try:
        with calm(), torch.no_grad():
            torch.onnx.export(program, f=path, dynamo=True, verbose=False, external_data=outside)
    except Exception as error:
        todo = "For models of transformers, model.set_attn_implementation('eager') may do: plain operations."
        cause = error.__cause__ or error
        raise PruningError(
            f"export_onnx(model=) must have operations that ONNX has; {first_line(cause)}. {todo}"
        ) from error
