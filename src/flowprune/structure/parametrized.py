"""Weights that ``torch.nn.utils.parametrize`` computes: no units, and no place for zeros."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import nn
from torch.nn.utils import parametrize

from flowprune.structure.records import Refusal

COMPUTED = "its weight is computed by a parametrization, so that no slice of a parameter is a slice of it"


def parametrized(model: nn.Module) -> Iterator[tuple[str, str, nn.Module, tuple[str, ...]]]:
    """The weights that are computed: module, name of the weight, its first parametrization, and the parameters.

    Example:
        >>> model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)))
        >>> [(path, weight, names[1]) for path, weight, _, names in parametrized(model)]
        [('0', '0.weight', '0.parametrizations.weight.original1')]
    """
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        held = (
            cast("nn.ModuleDict", module.parametrizations) if parametrize.is_parametrized(module) else nn.ModuleDict()
        )
        for name, steps in held.items():
            below = f"{prefix}parametrizations.{name}."
            sources = tuple(below + inner for inner, _ in steps.named_parameters())
            yield path, prefix + name, next(iter(steps.children()), steps), sources


def computed(model: nn.Module) -> tuple[Refusal, ...]:
    """A refusal for each weight that is computed.

    Example:
        >>> [refusal.weights for refusal in computed(nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)))]
        [('weight',)]
    """
    return tuple(
        Refusal(weight, type(step).__name__.strip("_"), f"{path or 'the model'!r}", COMPUTED, (weight,))
        for path, weight, step, _ in parametrized(model)
    )
