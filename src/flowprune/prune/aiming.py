"""Which aim is asked for: a sparsity, a budget, or stages that are sized as one goes."""

from __future__ import annotations

from torch import nn

from flowprune.core.errors import invalid
from flowprune.measures import Granularity
from flowprune.prune.aim import BudgetAim, SparsityAim
from flowprune.prune.budget import Budget
from flowprune.prune.rule import Rule
from flowprune.prune.stages import AdaptiveAim
from flowprune.prune.targets import fixed_sparsity
from flowprune.schedules import Event, Schedule

Aim = SparsityAim | BudgetAim | AdaptiveAim


def aim_of(
    schedule: Schedule,
    budget: Budget | None,
    *,
    model: nn.Module,
    granularity: Granularity,
    rule: Rule,
    when: Event | None,
) -> Aim:
    """The aim of a pruner.

    Raises:
        ValueError: what does not go with a budget, or with stages that are sized as one goes.
    """
    if budget is None:
        aim = SparsityAim(schedule, rule.scope, granularity)
        if schedule.adapt is None:
            return aim
        if when is not None:
            raise invalid("Pruner(when=)", "None with stages that are sized as one goes", when)
        return AdaptiveAim(aim, schedule.adapt)
    if not isinstance(budget, Budget):
        raise invalid("Pruner(budget=)", "a Budget, such as fp.Budget(parameters=0.5)", budget)
    if schedule.adapt is not None:
        todo = "Name a sparsity, or take fp.schedules.exponential(rounds)."
        raise invalid("Pruner(budget=)", "None with stages that are sized as one goes", budget.words, todo)
    fixed = fixed_sparsity(granularity)
    if fixed is not None:
        leaves = f"None with {granularity.name}, which leaves {1 - fixed:.4g} of the weights"
        raise invalid("Pruner(budget=)", leaves, budget.words)
    if when is not None:
        todo = "Give a schedule with a sparsity, which the event is bound to."
        raise invalid("Pruner(budget=)", "None where an event is waited for", budget.words, todo)
    if rule.reference_compat:
        raise invalid("Pruner(reference_compat=)", "False beside a budget", True)
    return BudgetAim(budget, schedule, rule.scope, model)
