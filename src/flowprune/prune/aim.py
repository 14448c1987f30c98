"""How much goes in each round: to a sparsity, or to a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from flowprune.core.errors import invalid
from flowprune.masks import Masks, Pool, Scope, Scores, pools, require_patterns, require_use, share_of
from flowprune.measures import Granularity
from flowprune.prune.budget import Budget
from flowprune.prune.checks import probe_of
from flowprune.prune.settle import Subject, settle
from flowprune.prune.shares import Shares
from flowprune.prune.solution import Solution
from flowprune.prune.targets import fixed_sparsity, targets_of
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
    """The sparsities of a schedule, which ends at that of the granularity where this has one (N:M).

    Sparsities that a scope names for its own pools are reached in the same proportion as the common one. Where there
    is no common one, the schedule has the greatest of them.

    Attributes:
        targets: The common sparsity after each round.
        removed: How many units are gone in the end; known once there are scores.
    """

    def __init__(self, schedule: Schedule, scope: Scope, granularity: Granularity) -> None:
        self._scope, self._named, self.removed = scope, schedule.sparsity is not None, 0
        self._common = self._named or fixed_sparsity(granularity) is not None
        if not self._common and isinstance(scope, Mapping):
            self.targets = schedule.targets(max(scope.values(), default=0.0))
        else:
            self._common = True
            self.targets = targets_of("Pruner(schedule=)", schedule, granularity)

    def pools(self, way: Way, scores: Scores, index: int, *, example_inputs: object = None) -> tuple[Pool, ...]:
        """Of round ``index``, which counts from 0."""
        del example_inputs
        return self.reaching(way, scores, self.targets[index])

    def reaching(self, way: Way, scores: Scores, target: float) -> tuple[Pool, ...]:
        """Of a common sparsity on the way to the last."""
        final = self.targets[-1]
        scope = share_of(self._scope, target / final if final else 1.0)
        alive, common = way.alive(scores), target if self._common else None
        found = pools(alive, scope, common, where="Pruner")
        require_use("Pruner", common if self._named else None, found)
        found = tuple(_at_least(pool, alive) for pool in found)
        end = self.end(alive)
        require_patterns("Pruner", end, scores.layout)
        self.removed = sum(pool.remove for pool in end)
        return found

    def end(self, units: Masks) -> tuple[Pool, ...]:
        """What is to be gone of the original units in the end."""
        return pools(units, self._scope, self.targets[-1] if self._common else None, where="Pruner")


def _at_least(pool: Pool, alive: Masks) -> Pool:
    """A pool of which as much goes as is gone: a model that came with masks may be ahead of the schedule."""
    layers = alive.per_layer()
    gone = sum(layers[name].total - layers[name].kept for name in pool.names)
    return pool if gone <= pool.remove else Pool(pool.names, pool.total, gone / pool.total, pool.own)


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
