"""Measures read off the norm behind a filter: its scale γ and shift β."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.source import Source
from flowprune.measures.fisher import squared_parameter_times_minibatch_fisher
from flowprune.measures.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from flowprune.signals import Signals


def scales(signals: Signals) -> dict[str, Tensor]:
    """C = γ, the scales of the norms; shifts (``*.bias``) contribute nothing.

    Shapes: as the parameters. Units: of the parameters.

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> list(scales(Signals(params={"bn.weight": torch.ones(2), "bn.bias": torch.ones(2)})))
        ['bn.weight']
    """
    return {name: value for name, value in signals.params.items() if not name.endswith("bias")}


BN_SCALE = Measure(
    "bn_scale",
    0,
    (),
    "sum_abs",
    "|γ|",
    scales,
    Source(
        "Liu, Li, Shen, Huang, Yan & Zhang",
        2017,
        "Learning Efficient Convolutional Networks through Network Slimming",
        arxiv="1708.06519",
    ),
    on="norm",
    published_as="bn",
)
BN_FISHER = Measure(
    "bn_fisher",
    None,
    ("minibatch_fisher",),
    "sum",
    "γ²·E_b[ḡ_γ²] + β²·E_b[ḡ_β²]",
    squared_parameter_times_minibatch_fisher,
    Source(
        "Molchanov, Mallya, Tyree, Frosio & Kautz",
        2019,
        "Importance Estimation for Neural Network Pruning",
        arxiv="1906.10771",
    ),
    on="norm",
    published_as="nvidia",
)
