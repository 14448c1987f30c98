"""The control: scores that know nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowprune.core.source import Source
from flowprune.measures.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor

    from flowprune.signals import Signals


def uniform(signals: Signals, seed: int = 0) -> dict[str, Tensor]:
    """C uniform in [0, 1) for every unit, from a stream named by the seed and the layer's name.

    Shapes: as ``params``, which holds one entry for each unit. Units: none.

    Example:
        >>> import torch
        >>> from flowprune.signals import Signals
        >>> s = Signals(params={"w": torch.zeros(3)})
        >>> bool((uniform(s, seed=1)["w"] == uniform(s, seed=1)["w"]).all())
        True
    """
    import torch

    from flowprune.core.seeds import stream

    return {
        name: torch.rand(value.shape, generator=stream(seed, "random_measure", name), dtype=torch.float32).to(
            value.device
        )
        for name, value in signals.params.items()
    }


RANDOM = Measure(
    "random",
    None,
    (),
    "sum",
    "u ~ U[0, 1)",
    uniform,
    Source("Mittal, Bhardwaj, Khapra & Ravindran", 2018, "Recovering from Random Pruning", arxiv="1801.10447"),
    on="unit",
)
