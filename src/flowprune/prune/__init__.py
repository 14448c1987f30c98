"""When and how pruning happens: in one call, or in rounds inside a training loop."""

from flowprune.core.recipes import RECIPES
from flowprune.prune.budget import Budget
from flowprune.prune.carry_out import carry_out_
from flowprune.prune.once import PruneResult, prune
from flowprune.prune.pruner import Pruner
from flowprune.prune.recipe import Recipe
from flowprune.prune.recipes.imp import Level, Tickets, imp
from flowprune.prune.recipes.rewinding import redrawn
from flowprune.prune.records import Cut, Round
from flowprune.prune.rounding import RoundedWidths, round_widths
from flowprune.prune.rule import Rule, RuleOptions
from flowprune.prune.solution import Solution
from flowprune.prune.solve import solve

__all__ = [
    "RECIPES",
    "Budget",
    "Cut",
    "Level",
    "PruneResult",
    "Pruner",
    "Recipe",
    "Round",
    "RoundedWidths",
    "Rule",
    "RuleOptions",
    "Solution",
    "Tickets",
    "carry_out_",
    "imp",
    "prune",
    "redrawn",
    "round_widths",
    "solve",
]
