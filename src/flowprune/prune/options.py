"""The keywords of ``prune`` besides what is pruned and how much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

from torch import nn

from flowprune.prune.recipe import Recipe
from flowprune.prune.rule import RuleOptions

Ablation = Literal["invert", "shuffle", "reinitialize"]
ABLATIONS: Final = ("invert", "shuffle", "reinitialize")
ScoreOn = Literal["own_weights", "fresh_draw"]
SCORE_ON: Final = ("own_weights", "fresh_draw")


class PruneOptions(RuleOptions, total=False):
    """The keywords of :class:`~flowprune.prune.rule.Rule`, of a method, and of the measurement at the end."""

    recipe: str | Recipe
    ablations: Sequence[Ablation]
    score_on: ScoreOn
    build: Callable[[int], nn.Module]
    rescale: Literal["layer", "unit"] | None
    sigma_w: float | None
    compensate: bool
    diagnose: bool
    batch_sizes: Sequence[int]
    channels_last: bool
