"""Fisher information: θ² weighted by the mean of squared per-example gradients.

Squaring the mean gradient of a minibatch, as the founding paper's code does, is a different quantity that
shrinks with the batch size; it is here under its own name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.source import Source
from flowprune.measures.measure import FRAMEWORK, Measure

if TYPE_CHECKING:
    from torch import Tensor

    from flowprune.signals import Signals


def squared_parameter_times_fisher(signals: Signals) -> dict[str, Tensor]:
    """C = θ²·F with F = mean over examples of g_n², the diagonal of the empirical Fisher.

    Shapes: as the parameters. Units: squared loss units.

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> two = {"w": torch.tensor([2.0])}
        >>> squared_parameter_times_fisher(Signals(params=two, fisher=two))["w"]
        tensor([8.])
    """
    fisher = signals.require("fisher")
    return {name: signals.params[name].square() * f for name, f in fisher.items()}


def squared_parameter_times_minibatch_fisher(signals: Signals) -> dict[str, Tensor]:
    """C = θ²·(mean over minibatches of the squared minibatch-mean gradient); depends on the batch size.

    Shapes: as the parameters. Units: squared loss units.

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> two = {"w": torch.tensor([2.0])}
        >>> squared_parameter_times_minibatch_fisher(Signals(params=two, minibatch_fisher=two))["w"]
        tensor([8.])
    """
    squared = signals.require("minibatch_fisher")
    return {name: signals.params[name].square() * f for name, f in squared.items()}


_THEIS = Source(
    "Theis, Korshunova, Tejani & Huszár",
    2018,
    "Faster gaze prediction with dense networks and Fisher pruning",
    arxiv="1801.05787",
)

FISHER = Measure("fisher", None, ("fisher",), "sum", "Σ θ²·E[g²]", squared_parameter_times_fisher, _THEIS)
MINIBATCH_FISHER = Measure(
    "minibatch_fisher",
    None,
    ("minibatch_fisher",),
    "sum",
    "Σ θ²·E_b[ḡ_b²]",
    squared_parameter_times_minibatch_fisher,
    FRAMEWORK,
    published_as="fisher",
)
