"""What is accumulated for each weight, and what the result is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowprune.core.index import Index
from flowprune.core.source import Source

SOURCE = Source(
    "Sundaram, Ulmen & Görges",
    2026,
    "Component-Aware Pruning Framework for Neural Network Controllers via Gradient-Based Importance Estimation",
    arxiv="2601.19794",
)
"""Known by its abstract alone: three metrics (accumulated gradient, Fisher information, Bayesian uncertainty) collected
during training for each group of parameters. The formulas here are this library's own."""

Contribution = Callable[[Tensor, Tensor], Tensor]
"""From a parameter and its gradient (or another signal of its shape) to what is accumulated."""


@dataclass(frozen=True)
class ComponentMetric:
    """One metric of importance.

    Attributes:
        name: In ``COMPONENT_METRICS``.
        formula: Of one weight, with the mean over updates written E.
        reads: The field of :class:`~flowprune.signals.Signals` that a signals object must have.
        of_signal: What is accumulated of a parameter and that field.
        of_live: What is accumulated of a parameter and its ``.grad``; None where ``.grad`` cannot tell it.
        variance: Whether it ends as 1 / (N F + prior), which is small for an important weight.
    """

    name: str
    formula: str
    reads: str
    of_signal: Contribution
    of_live: Contribution | None
    variance: bool = False


def saliency(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The first-order change of the loss when the weight alone is removed, without its sign: |theta g|.

    Example:
        >>> saliency(torch.tensor([2.0]), torch.tensor([-3.0]))
        tensor([6.])
    """
    return (parameter * gradient).abs()


def squared_gradient(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The square of a minibatch's mean gradient: one term of the minibatch Fisher, not of the Fisher diagonal.

    Example:
        >>> squared_gradient(torch.tensor([2.0]), torch.tensor([-3.0]))
        tensor([9.])
    """
    del parameter
    return gradient.square()


def itself(parameter: Tensor, signal: Tensor) -> Tensor:
    """The signal as it is.

    Example:
        >>> itself(torch.tensor([2.0]), torch.tensor([5.0]))
        tensor([5.])
    """
    del parameter
    return signal


def posterior_variance(fisher: Tensor, *, examples: int, prior: float) -> Tensor:
    """The variance of each weight under a diagonal Laplace approximation: 1 / (N F + prior).

    Units: squared weight. ``prior`` is the precision of a Gaussian prior, as weight decay is one.
    Assumes: F is the mean over examples of squared per-example gradients. The minibatch Fisher in its place is smaller
    by about the batch size, so the variance comes out too large; its ranking of weights is what is left.

    Example:
        >>> posterior_variance(torch.tensor([0.0, 0.5]), examples=6, prior=1.0)
        tensor([1.0000, 0.2500])
    """
    return torch.reciprocal(examples * fisher + prior)


GRADIENT = ComponentMetric("gradient", "E|θ·g_B|", "gradient", saliency, saliency)
FISHER = ComponentMetric("fisher", "E[g_i²]", "fisher", itself, None)
MINIBATCH_FISHER = ComponentMetric("minibatch_fisher", "E[g_B²]", "minibatch_fisher", itself, squared_gradient)
POSTERIOR_VARIANCE = ComponentMetric("posterior_variance", "1/(N·E[g_i²] + prior)", "fisher", itself, None, True)
MINIBATCH_POSTERIOR_VARIANCE = ComponentMetric(
    "minibatch_posterior_variance", "1/(N·E[g_B²] + prior)", "minibatch_fisher", itself, squared_gradient, True
)

COMPONENT_METRICS: Index[ComponentMetric] = Index(
    "COMPONENT_METRICS",
    {
        "gradient": "flowprune.analysis.components.metric:GRADIENT",
        "fisher": "flowprune.analysis.components.metric:FISHER",
        "minibatch_fisher": "flowprune.analysis.components.metric:MINIBATCH_FISHER",
        "posterior_variance": "flowprune.analysis.components.metric:POSTERIOR_VARIANCE",
        "minibatch_posterior_variance": "flowprune.analysis.components.metric:MINIBATCH_POSTERIOR_VARIANCE",
    },
)
"""By name. ``fisher`` is of true per-example gradients, so it is fed signals; ``minibatch_fisher`` may be fed the live
``.grad``, whose square falls with the batch size and is no multiple of the former."""
