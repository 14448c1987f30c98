"""How the passes before and after pruning are timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from flowprune.core.granularities import units_in_words
from flowprune.measures import Granularity
from flowprune.prune.budget import Budget
from flowprune.structure import CostReport, cost_report
from flowprune.structure.cost import batch_size
from flowprune.structure.example import Example


@dataclass(frozen=True, eq=False)
class Timing:
    """What is measured once a model is pruned.

    Attributes:
        granularity: Whose units went.
        example: A few example inputs; None where there are none, and nothing is timed.
        budget: What was asked.
        batch_sizes: Of the passes; by default one, that of a latency budget or of the example.
        channels_last: Whether images lie channel by channel.
    """

    granularity: Granularity
    example: Example | None
    budget: Budget | None
    batch_sizes: Sequence[int] | None
    channels_last: bool

    def report(self, model: nn.Module, pruned: nn.Module) -> CostReport:
        """What pruning saved."""
        sizes = self.batch_sizes
        if sizes is None and self.example is not None:
            at = None if self.budget is None else self.budget.batch
            sizes = (batch_size(self.example) if at is None else at,)
        found = cost_report(
            model, pruned, self.example, batch_sizes=() if sizes is None else sizes, channels_last=self.channels_last
        )
        name = self.granularity.name
        return found if name == "weights" else replace(found, zeros=f"zeros of {units_in_words(name)}")
