"""Which way to per-example gradients suits a model: tried on two examples, not assumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowprune.core.errors import PruningError, invalid
from flowprune.objectives.output_curvature import loss_at
from flowprune.signals.as_found import as_found
from flowprune.signals.batches import Counted, mapped, part
from flowprune.signals.per_example.contribution import Contribution
from flowprune.signals.per_example.hooked import Engine, PerExample, Pulled, hooked
from flowprune.signals.per_example.singly import looped, vectorised

TOLERANCE = 1e-3
SPREAD = 8
"""Examples that are looked at where the first two say nothing of a parameter."""


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

    They are compared on the gradient and on vectors of signs in the outputs; with ``pulled`` on the slope of the loss
    in the outputs, which must pull back to the gradient.

    Raises:
        PruningError: examples are coupled by a batch norm.
        ValueError: with ``pulled``, the loss depends on the parameters in another way than through the outputs.
    """
    refuse_coupled(model)
    few = _telling(model, per_example, params, batch)
    with as_found(model, "eval"):  # dropout would make the ways differ
        expected = squares(looped(model, per_example, params), params, few)
        checks: list[tuple[Pulled | None, dict[str, Tensor]]] = [
            (None if pulled is None else partial(_slope, per_example), expected)
        ]
        # The slope vanishes where examples are fitted, random vectors do not; some objectives give no outputs to try.
        with suppress(ValueError, RuntimeError):
            checks.append((_signs, squares(looped(model, per_example, params, _signs), params, few)))
        for name, way in {"hooked": hooked, "vectorised": vectorised}.items():
            # Any error: plain autograd has just run this model, so it comes from the way.
            try:
                if all(agree(squares(way(model, per_example, params, v), params, few), told) for v, told in checks):
                    return Way(name, way(model, per_example, params, pulled))
            except Exception:
                continue
        first = checks[0][0]
        if first is not None and not agree(squares(looped(model, per_example, params, first), params, few), expected):
            rule = "a function of the outputs alone, for the Gauss-Newton matrix to be defined"
            got = "one whose gradient does not come back through the outputs"
            raise invalid("objective.per_example", rule, got, "Ask for curvature='empirical' or 'hutchinson'.")
    return Way("looped", looped(model, per_example, params, pulled))


def _telling(model: nn.Module, per_example: PerExample, params: Mapping[str, nn.Parameter], batch: Counted) -> object:
    """Two examples that every parameter shows in, or, where the first two are not such, up to eight from all over.

    A blank picture has no gradient in the first layer, whatever way it is had.
    """
    two = part(batch, 0, 2)
    with as_found(model, "eval"), suppress(ValueError, RuntimeError):
        seen = squares(looped(model, per_example, params, _signs), params, two)
        if all(bool(value.any()) for value in seen.values()):
            return two
    step = max(1, batch.size // SPREAD)

    def spread(tensor: Tensor) -> Tensor:
        return tensor[::step][:SPREAD] if tensor.ndim and len(tensor) == batch.size else tensor

    return mapped(batch.batch, spread)


def _signs(outputs: Tensor, batch: object) -> Iterator[Tensor]:
    """A vector of signs that look random, always the same ones for outputs of a size, example by example."""
    count = outputs[0].numel()
    signs = torch.randint(0, 2, (count,), generator=torch.Generator().manual_seed(0)).mul_(2).sub_(1)
    yield signs.to(outputs).reshape(1, *outputs.shape[1:]).expand_as(outputs).contiguous()


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
