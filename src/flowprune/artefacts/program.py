"""A model as a ``torch.export`` program in a ``.pt2`` file: it runs without the code that defined it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from flowprune.artefacts.agreement import TOLERANCE
from flowprune.artefacts.exporting import calm, export, outputs, source
from flowprune.artefacts.manifest import Artefact, checked_path
from flowprune.artefacts.publishing import Run, publish
from flowprune.artefacts.verification import verify
from flowprune.structure.example import Example


def export_program(
    model: nn.Module,
    example_inputs: object,
    path: Path | str,
    *,
    dynamic_batch: bool = False,
    tolerance: float = TOLERANCE,
) -> Artefact:
    """Write a model as a ``torch.export`` program, load it again, and compare it with the model.

    ``torch.export.load(path).module()`` runs anywhere PyTorch does, without the model's Python code. The program is of
    evaluation mode. Records of outputs become plain dictionaries and tuples of tensors; what is no tensor, such as a
    cache of past keys, is left out.

    Args:
        model: Stays as it is: a copy is exported, where its parameters are, without hooks that are not PyTorch's own.
        example_inputs: What it is called with; their shapes are those of the program.
        path: Ends in ``.pt2``. ``<path>.json`` is written beside it: checksums, shapes, versions.
        dynamic_batch: Let the program take any number of examples; tried with three. All tensors of which the first
            axis is as long as the first tensor's count examples.
        tolerance: The largest difference that is accepted, as a fraction of the largest output.

    Raises:
        ValueError: no module, no tensor in the inputs, or a path with another suffix or in no folder.
        PruningError: the model cannot be captured, or the program does not give what the model gives. Nothing is
            written then.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     made = export_program(nn.Linear(3, 2), torch.ones(4, 3), f"{folder}/model.pt2")
        ...     made.inputs[0].shape, made.outputs[0].shape, verify_program(made.path)[:2]
        ((4, 3), (4, 2), ('whole', 'hash'))
    """
    path = checked_path("export_program", path, "program")
    made_from = source("export_program", model, example_inputs, dynamic_batch=dynamic_batch)

    def build(file: Path) -> None:
        program = export("export_program", made_from)
        with calm():
            torch.export.save(program, file)

    return publish(path, "program", made_from, build=build, load=load_program, tolerance=tolerance)


def verify_program(path: Path | str) -> tuple[str, ...]:
    """Check a program that :func:`export_program` wrote: files, checksums, that it loads, runs and gives what it gave.

    Returns:
        What was checked; see :func:`flowprune.artefacts.verification.verify`.

    Raises:
        PruningError: the first check that failed.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     verify_program(export_program(nn.Linear(3, 2), torch.ones(4, 3), f"{folder}/model.pt2").path)
        ('whole', 'hash', 'loads', 'runs', 'finite', 'same numbers')
    """
    return verify("verify_program", path, "program", load=load_program)


def load_program(path: Path) -> Run:
    """The program as a function of its input tensors."""
    with calm():
        program = torch.export.load(path)
        module = program.module()
    leaves, nest = tree_flatten(program.example_inputs)

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        given = iter(tensors)
        args, kwargs = tree_unflatten(
            [next(given).to(leaf.device) if isinstance(leaf, Tensor) else leaf for leaf in leaves], nest
        )
        return outputs(module, Example(args, kwargs))

    return run
