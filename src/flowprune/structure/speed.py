"""Whether a pruned model is faster than the dense one, measured so that the answer does not drift with the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from flowprune.core.arguments import require_model
from flowprune.structure.cost import batch_size
from flowprune.structure.example import Example
from flowprune.structure.latency import Latency, check_repeats, in_turns, quartiles, summary
from flowprune.structure.twin import duplicate, random_state_kept

LEAST = 1.05
"""Below this factor a difference is not called one: a change of a tensor's address alone can make a few per cent."""


@dataclass(frozen=True)
class Speed:
    """Forward passes of two models at one batch size, taken in turns.

    Attributes:
        before: Of the dense model.
        after: Of the pruned one.
        factor: Median over rounds of (time before / time after) within the round; > 1 is faster.
        low: Lower quartile of these ratios.
        high: Upper quartile.
    """

    before: Latency
    after: Latency
    factor: float
    low: float
    high: float

    @classmethod
    def of(cls, before: Sequence[float], after: Sequence[float], *, batch: int) -> Speed:
        """From the seconds of each pass; passes of one index ran in one round."""
        low, factor, high = quartiles([a / b for a, b in zip(before, after, strict=True)])
        threads = torch.get_num_threads()
        return cls(summary(before, batch, threads), summary(after, batch, threads), factor, low, high)

    @property
    def batch(self) -> int:
        """Examples per pass."""
        return self.before.batch

    @property
    def faster(self) -> bool:
        """Whether it is measurably faster: by 5 % or more, and in three rounds of four."""
        return self.factor >= LEAST and self.low > 1.0

    @property
    def slower(self) -> bool:
        """Whether it is measurably slower, by the same rule."""
        return self.factor <= 1 / LEAST and self.high < 1.0

    def __str__(self) -> str:
        """The finding in words, such as ``x2.13 faster at batch 8``."""
        if self.faster:
            return f"x{self.factor:.3g} faster at batch {self.batch}"
        if self.slower:
            return f"x{1 / self.factor:.3g} slower at batch {self.batch}"
        return f"not measurably faster at batch {self.batch}"


def compare_speed(
    dense: nn.Module, pruned: nn.Module, example_inputs: object, *, repeats: int = 20, channels_last: bool = False
) -> Speed:
    """Time two models in turns, in evaluation mode without gradients, on copies of them.

    Formula: factor = median over rounds of t_dense / t_pruned, after 3 rounds of warm-up. Within a round both models
    run once, so a machine that slows down or speeds up meanwhile moves both times and not their ratio.

    Args:
        dense: Is not run itself.
        pruned: Nor is this one.
        example_inputs: What both are called with.
        repeats: Rounds measured.
        channels_last: Whether images and filters of convolutions lie channel by channel, for both models; often the
            faster layout, and the one in which a narrower convolution gains most.

    Raises:
        ValueError: ``repeats`` is below 1, or one of them is no module.
        PruningError: a model cannot be copied.

    Example:
        >>> compare_speed(nn.Linear(2, 2), nn.Linear(2, 1), torch.ones(4, 2), repeats=3).batch
        4
    """
    check_repeats("compare_speed", repeats)
    example = Example.of(example_inputs, "compare_speed").copied()
    twins = [duplicate(require_model("compare_speed", model), "compare_speed").eval() for model in (dense, pruned)]
    if channels_last:
        example = example.channels_last()
        for twin in twins:
            _channels_last_(twin)
    with random_state_kept(dense):
        before, after = in_turns(twins, example, 3, repeats, where="compare_speed")
    return Speed.of(before, after, batch=batch_size(example))


@torch.no_grad()
def _channels_last_(model: nn.Module) -> None:
    """As ``model.to(memory_format=torch.channels_last)``, which would raise at the filters of a 3d convolution."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
