"""A pruned model for use elsewhere: ONNX, a ``torch.export`` program, compiled code; each checked against the model."""

from flowprune.artefacts.compiled import Compiled, compile  # noqa: A004, the word for it
from flowprune.artefacts.manifest import Artefact
from flowprune.artefacts.onnx import export_onnx, verify_onnx
from flowprune.artefacts.program import export_program, verify_program

__all__ = ["Artefact", "Compiled", "compile", "export_onnx", "export_program", "verify_onnx", "verify_program"]
