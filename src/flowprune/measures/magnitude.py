"""Order 0: the norm itself, N = Σ θ².

The plain norm of the weights, neither squared nor divided by fan-in, as in the founding paper's code. At
PyTorch's default initialization every filter has a norm near 1/√3, whatever its layer, so before training the
ranking is noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.source import Source
from flowprune.measures.measure import FRAMEWORK, Measure

if TYPE_CHECKING:
    from torch import Tensor

    from flowprune.signals import Signals


def parameters(signals: Signals) -> dict[str, Tensor]:
    """C = θ.

    Shapes: as the parameters. Units: of the parameters.

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> parameters(Signals(params={"w": torch.tensor([3.0, -4.0])}))["w"]
        tensor([ 3., -4.])
    """
    return dict(signals.params)


MAGNITUDE = Measure("magnitude", 0, (), "l2", "(Σ θ²)^½", parameters, FRAMEWORK, published_as="mag_based")
MAGNITUDE_L1 = Measure(
    "magnitude_l1",
    0,
    (),
    "sum_abs",
    "Σ |θ|",
    parameters,
    Source("Li, Kadav, Durdanovic, Samet & Graf", 2017, "Pruning Filters for Efficient ConvNets", arxiv="1608.08710"),
    published_as="l1",
)
