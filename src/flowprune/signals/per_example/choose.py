"""Which way to per-example gradients suits a model: tried on two examples, not assumed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flowprune.core.errors import PruningError
from flowprune.signals.as_found import as_found
from flowprune.signals.batches import Counted, part
from flowprune.signals.per_example.contribution import Contribution
from flowprune.signals.per_example.hooked import Engine, PerExample, hooked
from flowprune.signals.per_example.singly import looped, vectorised

TOLERANCE = 1e-3


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


def choose(model: nn.Module, per_example: PerExample, params: Mapping[str, nn.Parameter], batch: Counted) -> Engine:
    """The fastest engine that agrees with plain autograd on two examples of the batch.

    Raises:
        PruningError: examples are coupled by a batch norm.
    """
    refuse_coupled(model)
    two = part(batch, 0, 2)
    with as_found(model, "eval"):  # dropout would make the ways differ
        expected = squares(looped(model, per_example, params), params, two)
        for way in (hooked, vectorised):
            # Any error: plain autograd has just run this model, so it comes from the way.
            try:
                engine = way(model, per_example, params)
                if agree(squares(engine, params, two), expected):
                    return engine
            except Exception:
                continue
    return looped(model, per_example, params)


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
