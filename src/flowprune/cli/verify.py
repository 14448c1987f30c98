"""``flowprune verify``: whether a file or folder is whole, and holds a sound model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from torch import nn

Target = Annotated[
    Path,
    typer.Argument(
        help="What fp.save or flowprune prune --out wrote, a .safetensors file, or an exported .onnx or .pt2."
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Also load it into the dense model: module:factory, hf:..., or a registered name."),
]
Dataset = Annotated[str, typer.Option("--dataset", help="What a registered model is built for.")]
Lines = Iterable[str]


@dataclass(frozen=True)
class Verifier:
    """One kind of thing that can be verified.

    Attributes:
        recognises: Whether a path is one; looks at names alone.
        target: ``"module:function"``, imported when it is needed: from the path, and the function that builds the
            dense model (or None), to the lines that are printed. It raises where something does not hold.
    """

    recognises: Callable[[Path], bool]
    target: str

    def lines(self, path: Path, build: Callable[[], nn.Module] | None) -> Lines:
        """What was verified."""
        module, function = self.target.split(":")
        return getattr(import_module(module), function)(path, build)


PLAN_FILES = ("plan.json", "plan.safetensors", "model.safetensors")


def _is_plan(path: Path) -> bool:
    if path.is_dir():
        return (path / PLAN_FILES[0]).exists()
    return path.name in PLAN_FILES and path.with_name(PLAN_FILES[0]).exists()


def _is_masks(path: Path) -> bool:
    return path.suffix == ".safetensors" and path.with_suffix(".json").exists()


def _is_onnx(path: Path) -> bool:
    return path.suffix == ".onnx"


def _is_program(path: Path) -> bool:
    return path.suffix == ".pt2"


def _is_weights(path: Path) -> bool:
    return path.suffix == ".safetensors"


VERIFIERS = {
    "plan": Verifier(_is_plan, "flowprune.cli.verifying:plan"),
    "masks": Verifier(_is_masks, "flowprune.cli.verifying:masks"),
    "onnx": Verifier(_is_onnx, "flowprune.cli.verifying:onnx"),
    "program": Verifier(_is_program, "flowprune.cli.verifying:program"),
    "weights": Verifier(_is_weights, "flowprune.cli.verifying:weights"),
}
"""In the order in which they are asked; the first that recognises the path verifies it."""
SAVED = "Pass what fp.save wrote."


def verify(path: Target, *, model: Model = None, dataset: Dataset = "digits") -> None:
    """Check files, version, shapes and values of a saved model; exit code 2 and the reason where one does not hold."""
    if not path.exists():
        raise invalid("verify PATH", "an existing file or folder", str(path))
    kind = next((name for name, verifier in VERIFIERS.items() if verifier.recognises(path)), None)
    if kind is None:
        todo = f"{PLAN_FILES[0]} is missing in this folder. {SAVED}" if path.is_dir() else SAVED
        raise invalid("verify PATH", f"one of: {', '.join(VERIFIERS)}", str(path), todo)
    from flowprune.cli.outside import factory

    for line in VERIFIERS[kind].lines(path, None if model is None else factory(model, dataset)):
        typer.echo(line)
    typer.secho(f"Verified: {path} ({kind}).", fg="green")
