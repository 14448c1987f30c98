"""From a model to a ``torch.export`` program that gives plain tensors, and the same numbers."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from io import StringIO
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.utils._pytree import tree_leaves

from flowprune.core.arguments import require_model
from flowprune.core.errors import PruningError, first_line
from flowprune.core.unfused import unfused
from flowprune.structure.capture import user_line
from flowprune.structure.cost import batch_size
from flowprune.structure.example import Example
from flowprune.structure.twin import duplicate, random_state_kept


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """What an artefact is made from and compared with.

    Attributes:
        model: A copy in evaluation mode that returns plain containers of tensors.
        example: What it is called with.
        dynamic_batch: Whether the artefact takes any number of examples.
    """

    model: nn.Module
    example: Example
    dynamic_batch: bool

    @property
    def trials(self) -> list[Example]:
        """Inputs to compare on: the example, and two other batch sizes where any is to do."""
        size = batch_size(self.example) if self.dynamic_batch else 0
        return [self.example, *(self.example.of_size(n) for n in (1, size + 1) if self.dynamic_batch)]


def source(where: str, model: nn.Module, example_inputs: object, *, dynamic_batch: bool, cpu: bool = False) -> Source:
    """A copy of the model to export, and the inputs, of two examples or more where the batch axis is to be free.

    The copy has no hooks that are not PyTorch's own.

    Raises:
        ValueError: no module, one with lazy parameters, or inputs without a tensor.
        PruningError: the model cannot be copied.
    """
    example = Example.of(example_inputs, where).copied()
    twin = duplicate(require_model(where, model), where).eval()
    if cpu:
        twin, example = twin.cpu(), example.map(lambda x: x.cpu())
    if dynamic_batch:  # the exporter takes a size of 1 for a constant
        example = example.of_size(max(2, batch_size(example)))
    twin.forward = _plainly(twin.forward)
    return Source(twin, example, dynamic_batch)


def export(where: str, made_from: Source) -> ExportedProgram:
    """The program of a model's forward pass.

    Raises:
        PruningError: ``torch.export`` cannot capture it; the error names the line of the model's code.
    """
    model, example = made_from.model, made_from.example
    try:
        with calm(), random_state_kept(model), torch.no_grad():
            return torch.export.export(
                model,
                example.args,
                example.kwargs or None,
                dynamic_shapes=_free(example) if made_from.dynamic_batch else None,
                strict=False,
            )
    except Exception as error:
        raise PruningError(f"{where}(model=) must be a model that torch.export captures; {_told(error)}") from error


def _free(example: Example) -> Any:
    """That the first axis of every tensor of examples may have any length of 1 or more."""
    shapes, size, axis = ShapesCollection(), batch_size(example), Dim("batch", min=1)
    for tensor in example.tensors:
        if tensor.dim() and len(tensor) == size:
            shapes[tensor] = {0: axis}
    return shapes


def outputs(model: Callable[..., Any], example: Example) -> list[Tensor]:
    """The tensors that a model or a program returns, in order, without gradients.

    Raises:
        PruningError: there are none.
    """
    with torch.no_grad():
        found = [x for x in tree_leaves(model(*example.args, **example.kwargs)) if isinstance(x, Tensor)]
    if not found:
        raise PruningError("A model to export must return a tensor, or a record of tensors; it returns none.")
    return found


def expected_of(what: str, made_from: Source, trial: Example) -> list[Tensor]:
    """What the model gives for one of its trials.

    Raises:
        PruningError: it does not run on it.
    """
    try:
        with calm(), random_state_kept(made_from.model):
            return outputs(made_from.model, trial.copied())
    except PruningError:
        raise
    except Exception as error:
        todo = "Pass example_inputs that it is called with."
        if made_from.dynamic_batch:
            todo = "If its code fixes the number of examples, pass dynamic_batch=False."
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in trial.tensors)
        raise PruningError(f"{what} must run on inputs of shape {shapes}; {first_line(error)}. {todo}") from error


def plain(output: Any) -> Any:
    """The tensors of an output in dictionaries and tuples; what else there is, such as a cache, is left out.

    So that an artefact can be loaded where the library that defines the output's class is not installed.

    Example:
        >>> plain([torch.ones(1), None, {"a": 3, "b": torch.zeros(1)}])
        (tensor([1.]), {'b': tensor([0.])})
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        items = ((str(key), plain(value)) for key, value in cast("Mapping[Any, Any]", output).items())
        return {key: value for key, value in items if value is not None} or None
    if isinstance(output, (tuple, list)):
        found = (plain(value) for value in cast("tuple[Any, ...]", output))
        return tuple(value for value in found if value is not None) or None
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return plain({field.name: getattr(output, field.name) for field in dataclasses.fields(output)})
    return None


def _plainly(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The same forward pass with a plain output; its signature, which names the program's inputs, is kept."""

    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        return plain(forward(*args, **kwargs))

    return run


@contextmanager
def calm() -> Generator[None]:
    """Within the block exporters print and log nothing, and transformer layers are seen one by one.

    The fused transformer kernel of evaluation mode is one operation that no other runtime has.
    """
    silenced = logging.root.manager.disable
    logging.disable(max(logging.ERROR, silenced))
    try:
        with unfused(), warnings.catch_warnings(), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(silenced)


def _told(error: Exception) -> str:
    """Where and why a capture failed, and what to do."""
    todo = "torch.export.export(model, args, strict=False) must work."
    if "onstraint" in str(error):
        todo = "Its code fixes the number of examples: pass dynamic_batch=False."
    return f"{first_line(error)}{user_line(error)}. {todo}"
