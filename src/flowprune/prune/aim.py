"""How much goes in each round: to a sparsity, or to a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from flowprune.core.errors import invalid
from flowprune.masks import Masks, Pool, Scope, Scores, pools, require_use, share_of
from flowprune.prune.budget import Budget
from flowprune.prune.checks import probe_of
from flowprune.prune.settle import Subject, settle
from flowprune.prune.shares import Shares
from flowprune.prune.solution import Solution
from flowprune.schedules import Schedule


class Way(Protocol):
    """What an aim asks of the way in which units go."""

    def alive(self, scores: Scores) -> Masks:
        """The original units, True where alive."""
        ...

    def most(self, alive: Masks) -> Mapping[str, int]:
        """How many units of each layer may be gone."""
        ...

    def propose(self, scores: Scores, pools: tuple[Pool, ...]) -> Masks:
        """Masks of the units present after which so many are gone."""
        ...


class SparsityAim:
    """The sparsities of a schedule.

    Sparsities that a scope names for its own pools are reached in the same proportion as the common one. Where there
    is no common one, the schedule has the greatest of them.

    Attributes:
        targets: The common sparsity after each round.
        removed: How many units are gone in the end; known once there are scores.
    """

    def __init__(self, schedule: Schedule, scope: Scope) -> None:
        self._scope, self._common, self.removed = scope, True, 0
        given = None
        if schedule.sparsity is None and isinstance(scope, Mapping):
            given, self._common = max(scope.values(), default=0.0), False
        self.targets = schedule.targets(given)

    def pools(self, way: Way, scores: Scores, index: int, *, example_inputs: object = None) -> tuple[Pool, ...]:
        """Of round ``index``, which counts from 0."""
        del example_inputs
        target, final = self.targets[index], self.targets[-1]
        scope = share_of(self._scope, target / final if final else 1.0)
        alive, common = way.alive(scores), target if self._common else None
        found = pools(alive, scope, common, where="Pruner")
        require_use("Pruner", common, found)
        end = pools(alive, self._scope, final if self._common else None, where="Pruner")
        self.removed = sum(pool.remove for pool in end)
        return found


@dataclass(eq=False)
class BudgetAim:
    """A budget, solved anew before each round from that round's scores.

    Let k be the number of units that would have to go in all to meet the budget, of the n original ones: round r of R
    ends where the schedule, on the way to the sparsity k/n, is then. The last round ends at k itself. So no round has
    to guess: each knows the model as the ones before it left it, and the miss is that of one cut.

    Attributes:
        budget: What is to be left in the end.
        schedule: Without a sparsity of its own.
        scope: Of the pools; those with a sparsity of their own reach it in the same proportion.
        model: As it is now.
        solution: The last one.
    """

    budget: Budget
    schedule: Schedule
    scope: Scope
    model: nn.Module
    solution: Solution | None = None

    def __post_init__(self) -> None:
        if self.schedule.sparsity is not None:
            todo = "Name the target in one place."
            raise invalid("Pruner(schedule=)", "without a sparsity beside budget=", self.schedule.sparsity, todo)

    def pools(self, way: Way, scores: Scores, index: int, *, example_inputs: object = None) -> tuple[Pool, ...]:
        """Of round ``index``, which counts from 0; the example inputs are what the model is called with."""
        alive = way.alive(scores)
        most = way.most(alive)
        shares = Shares.open(alive, self.scope, most, where="Pruner")
        timed = self.budget.unit == "latency_ms"  # at the batch given; sizes are per example
        example = example_inputs if timed else probe_of(example_inputs)
        dense = None if self.solution is None else self.solution.dense
        subject = Subject("Pruner", self.model, scores.layout, example, dense)
        self.solution = settle(self.budget, subject, shares, lambda found: way.propose(scores, found))
        final = self.solution.removed - sum(pool.remove for pool in shares.pools if pool.own)
        if index == self.schedule.rounds - 1 or not shares.total:
            return shares.of(final)
        sparsity = final / shares.total
        target = self.schedule.shape(index + 1, self.schedule.rounds, sparsity)
        part = Shares.open(alive, self.scope, most, where="Pruner", progress=target / sparsity if sparsity else 1.0)
        return part.of(min(max(round(target * shares.total), shares.first), final))

    @property
    def targets(self) -> tuple[float, ...]:
        """None are known ahead."""
        return ()

    @property
    def removed(self) -> int:
        """How many units are gone in the end, as it seems now."""
        return 0 if self.solution is None else self.solution.removed
