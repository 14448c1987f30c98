"""When and how pruning happens: in one call, or in rounds inside a training loop."""

from flowprune.prune.carry_out import carry_out_
from flowprune.prune.once import PruneResult, prune
from flowprune.prune.pruner import Pruner
from flowprune.prune.records import Cut, Round
from flowprune.prune.rule import Rule, RuleOptions

__all__ = ["Cut", "PruneResult", "Pruner", "Round", "Rule", "RuleOptions", "carry_out_", "prune"]
