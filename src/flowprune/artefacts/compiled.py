"""A model compiled for one shape, checked and timed against itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from flowprune.artefacts.agreement import TOLERANCE, require_same
from flowprune.artefacts.exporting import outputs
from flowprune.core.arguments import require_model
from flowprune.core.errors import PruningError, first_line
from flowprune.structure.cost import batch_size
from flowprune.structure.example import Example
from flowprune.structure.latency import check_repeats, in_turns
from flowprune.structure.speed import Speed
from flowprune.structure.twin import duplicate, random_state_kept


@dataclass(frozen=True, eq=False)
class Compiled:
    """A compiled copy of a model; call it as the model is called.

    Attributes:
        model: The compiled module. Its weights are part of the code: changing them changes nothing.
        difference: From the model, as a fraction of the largest output.
        seconds: That compiling took.
        speed: Of the model as it was ("before") and compiled ("after"), in turns.
    """

    model: nn.Module
    difference: float
    seconds: float
    speed: Speed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the model gives, in inference mode: another mode would compile once more."""
        with torch.inference_mode():
            return self.model(*args, **kwargs)

    def __str__(self) -> str:
        """What it cost and what it brought, in words."""
        return f"compiled in {self.seconds:.1f} s: {self.speed}; at most {self.difference:.1g} off"


def compile(  # noqa: A001, the word for it
    model: nn.Module,
    example_inputs: object,
    *,
    backend: str | Callable[..., Any] = "inductor",
    tolerance: float = TOLERANCE,
    repeats: int = 20,
) -> Compiled:
    """Compile a copy of a model for inference on inputs of one shape, and say whether that made it faster.

    After a cut three things go wrong with a plain ``torch.compile(model)``: code made for the former widths is still
    there, the changed widths are taken for dynamic ones, for which slower code is made, and weights that are not
    frozen into the code make narrow networks slower than they were. Here the compiler is reset, shapes are fixed, and
    weights are frozen.

    Args:
        model: Stays as it is: a copy is compiled, in evaluation mode, without hooks that are not PyTorch's own.
        example_inputs: What it is called with. Other shapes work, and compile once more.
        backend: Of ``torch.compile``; ``"inductor"`` needs a C++ compiler on the CPU.
        tolerance: The largest difference that is accepted, as a fraction of the largest output.
        repeats: Rounds of timing, uncompiled and compiled in turns.

    Raises:
        ValueError: no module, no tensor in the inputs, or ``repeats`` below 1.
        PruningError: the compiler fails, or what it made does not give what the model gives.

    Note: the compiler's cache is that of the process: other compiled models compile again at their next call.

    Example:
        >>> compile(nn.Linear(3, 2), torch.ones(4, 3), backend="eager", repeats=3).difference
        0.0
    """
    check_repeats("compile", repeats)
    example = Example.of(example_inputs, "compile").copied()
    twin = duplicate(require_model("compile", model), "compile").eval()
    torch.compiler.reset()
    options: dict[str, Any] | None = {"freezing": True} if backend == "inductor" else None
    with random_state_kept(model), torch.inference_mode():
        example.call(twin, "compile")
        expected, began = outputs(twin, example), time.perf_counter()
        try:
            made: Any = torch.compile(twin, backend=backend, dynamic=False, options=options)
            found = outputs(made, example)
        except Exception as error:
            todo = 'On a CPU it needs a C++ compiler; backend="eager" tells whether the graph is at fault.'
            raise PruningError(
                f"compile(model=) must be a model that {backend} compiles; {first_line(error)}. {todo}"
            ) from error
        seconds = time.perf_counter() - began
        difference = require_same(expected, found, tolerance=tolerance, what="compile(model=)")
        before, after = in_turns((twin, made), example, 3, repeats, where="compile")
    speed = Speed.of(before, after, batch=batch_size(example))
    return Compiled(made, difference, seconds, speed)
