"""Which way to per-example gradients suits a model: tried on two examples, not assumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowprune.core.errors import PruningError, invalid
from flowprune.objectives.output_curvature import loss_at
from flowprune.signals.as_found import as_found
from flowprune.signals.batches import Counted, part
from flowprune.signals.per_example.contribution import Contribution
from flowprune.signals.per_example.hooked import Engine, PerExample, Pulled, hooked
from flowprune.signals.per_example.singly import looped, vectorised

TOLERANCE = 1e-3


class Way(NamedTuple):
    """An engine, and which it is.

    Attributes:
        name: ``"hooked"``, ``"vectorised"`` or ``"looped"``.
        run: The engine.
    """

    name: str
    run: Engine


def refuse_coupled(model: nn.Module) -> None:
    """Refuse a model whose examples meet in a batch norm: none of them has a gradient of its own.

    Raises:
        PruningError: a batch norm that uses batch statistics, named.
    """
    for name, module in model.named_modules():
        batch_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if batch_norm and (module.training or module.running_mean is None):
            raise PruningError(
                f"gather() can give no per-example gradients: {name} ({type(module).__name__}) uses batch statistics, "
                'which couple the examples. Use mode="eval" and a norm that tracks running statistics.'
            )


def choose(
    model: nn.Module,
    per_example: PerExample,
    params: Mapping[str, nn.Parameter],
    batch: Counted,
    pulled: Pulled | None = None,
) -> Way:
    """The fastest engine that agrees with plain autograd on two examples of the batch.

    With ``pulled`` they are compared on the slope of the loss in the outputs, which must pull back to the gradient.

    Raises:
        PruningError: examples are coupled by a batch norm.
        ValueError: with ``pulled``, the loss depends on the parameters in another way than through the outputs.
    """
    refuse_coupled(model)
    two = part(batch, 0, 2)
    tried = None if pulled is None else partial(_slope, per_example)
    with as_found(model, "eval"):  # dropout would make the ways differ
        expected = squares(looped(model, per_example, params), params, two)
        for name, way in {"hooked": hooked, "vectorised": vectorised}.items():
            # Any error: plain autograd has just run this model, so it comes from the way.
            try:
                if agree(squares(way(model, per_example, params, tried), params, two), expected):
                    return Way(name, way(model, per_example, params, pulled))
            except Exception:
                continue
        if tried is not None and not agree(squares(looped(model, per_example, params, tried), params, two), expected):
            rule = "a function of the outputs alone, for the Gauss-Newton matrix to be defined"
            got = "one whose gradient does not come back through the outputs"
            raise invalid("objective.per_example", rule, got, "Ask for curvature='empirical' or 'hutchinson'.")
    return Way("looped", looped(model, per_example, params, pulled))


def _slope(per_example: PerExample, outputs: Tensor, batch: object) -> Iterator[Tensor]:
    """The gradient of the losses in the outputs."""
    with torch.enable_grad():
        z = outputs.detach().requires_grad_()
        yield torch.autograd.grad(loss_at(per_example, z, batch).sum(), z, materialize_grads=True)[0]


def squares(engine: Engine, params: Mapping[str, nn.Parameter], batch: object) -> dict[str, Tensor]:
    """sum_i g_i^2 over the batch, zeros where an engine had nothing to give."""
    sums = {name: torch.zeros_like(parameter) for name, parameter in params.items()}

    def add(name: str, contribution: Contribution) -> None:
        sums[name] += contribution.squares().view_as(sums[name])

    engine(batch, add)
    return {name: value.detach() for name, value in sums.items()}


def agree(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    """Whether two results differ by rounding only, on the scale of each parameter.

    Example:
        >>> agree({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([1.0, 1e-6])})
        True
    """
    floor = 1e-6 * max(float(value.max()) for value in expected.values())
    return all(
        bool((found[name] - value).abs().max() <= TOLERANCE * max(float(value.max()), floor))
        for name, value in expected.items()
    )
