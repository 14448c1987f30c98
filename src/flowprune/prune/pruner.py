"""Pruning inside a training loop: one call an epoch cuts the model in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Unpack

from torch import Tensor, nn
from torch.optim import Optimizer

from flowprune.core.arguments import call, require_model, require_optimizer
from flowprune.core.errors import invalid
from flowprune.core.optimizer_state import assert_live, held_names
from flowprune.masks import Masks, Pool, Scores
from flowprune.measures import Granularity, Measure, own_objective, require_granularity, require_measure
from flowprune.prune.aim import BudgetAim, SparsityAim
from flowprune.prune.aiming import aim_of
from flowprune.prune.budget import Budget
from flowprune.prune.checks import probe_of
from flowprune.prune.feasible import PRUNER, Names, Units, require_feasible, units_of
from flowprune.prune.masking import Masking
from flowprune.prune.records import Cut, Rounds
from flowprune.prune.rule import Rule, RuleOptions
from flowprune.prune.scorer import Scorer
from flowprune.prune.shrinking import Shrinking
from flowprune.prune.solution import Solution
from flowprune.prune.stages import AdaptiveAim
from flowprune.prune.waiting import Waiting
from flowprune.schedules import Event, Schedule, require_schedule
from flowprune.signals import Signals


class Pruner:
    """Cuts a model in rounds, in place: same object, same module names; parameters and optimizer state follow.

    With channels the model becomes physically smaller; with weights and blocks it is masked. After every cut it is
    verified that the smaller model computes what the masked one does, that the optimizer holds the live parameters and
    state to match, that the sparsity is exact, and, at the next call, that masked weights are still zero.

    With ``when``, calls before the event fires are looks: what the event reads is computed, and the model is left as
    found. The call in which it fires makes the first cut.

    Args:
        model: Cut in place.
        optimizer: Follows the cut; None where there is none.
        measure: A name in ``MEASURES``, or a measure.
        granularity: ``fp.Weights()``, ``fp.NM(2, 4)``, ``fp.Blocks(4, 1)`` or ``fp.Channels(example_inputs=x)``.
        objective: As for ``fp.gather``.
        schedule: With its sparsity, e.g. ``fp.schedules.rounds(5, sparsity=0.75)``; without one beside a budget, or
            where the scope names the sparsity of every layer. For an N:M pattern that is 1 - N/M, and may be left out.
        when: An event before which nothing is cut, e.g. ``fp.schedules.early_bird()``; None: cut at the first call.
        budget: What is to be left at the end in place of a sparsity, e.g. ``fp.Budget(parameters=0.5)``. It is solved
            anew before each round, from that round's scores (:class:`~flowprune.prune.aim.BudgetAim`).
        rule: scope, floor, protect, momentum, observe, mode, options, normalise, members, reference_compat; see
            :class:`~flowprune.prune.rule.Rule`.

    Raises:
        UnknownNameError: an unknown measure, scope or way with momentum.
        ValueError: a schedule without a sparsity, or with one beside a budget, a floor out of range, an optimizer of
            another model, or an event that has seen a look already or cannot be waited for at this sparsity.

    Example:
        >>> import torch, flowprune as fp
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> x, y = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
        >>> pruner = fp.Pruner(model, optimizer, measure="magnitude", granularity=fp.Channels(example_inputs=x),
        ...                    objective=fp.objectives.cross_entropy(), schedule=fp.schedules.rounds(1, sparsity=0.75))
        >>> pruner.step([(x, y)]).units_after, model[0].out_features
        (2, 2)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        *,
        measure: str | Measure,
        granularity: Granularity,
        objective: Any,
        schedule: Schedule,
        when: Event | None = None,
        budget: Budget | None = None,
        **rule: Unpack[RuleOptions],
    ) -> None:
        require_model("Pruner", model)
        self._held = (
            frozenset[str]() if optimizer is None else held_names(require_optimizer("Pruner", optimizer), model)
        )
        if optimizer is not None and not self._held:
            raise invalid(
                "Pruner(optimizer=)",
                "one that trains the model",
                "one that holds none of its parameters",
                "Build it on the model that is pruned; None where nothing is trained.",
            )
        self.model, self.optimizer = model, optimizer
        self.measure = require_measure("Pruner", measure)
        self.objective = own_objective(self.measure) if objective is None else objective
        if self.measure.needs and self.objective is None:
            raise invalid("Pruner(objective=)", f"given, because {self.measure.name!r} needs signals", objective)
        self.granularity = require_granularity("Pruner", granularity)
        self.rule = call("Pruner(...)", Rule, rule)
        self.schedule = require_schedule("Pruner", schedule)
        self._aim = aim_of(schedule, budget, model=model, granularity=granularity, rule=self.rule, when=when)
        self._adapts = self._aim if isinstance(self._aim, AdaptiveAim) else None
        if budget is not None and self.rule.floor is None:
            self.rule = replace(self.rule, floor=0.0)  # what is costed must have a unit in each layer
        if self._adapts is not None:
            self._adapts.require(self.measure, self.objective, revives=self.rule.revives(self.measure))
        self.targets = self._aim.targets
        tells = () if self._adapts is None else self._adapts.needs
        self._needs = tuple(dict.fromkeys((*self.measure.needs, *self.rule.observe, *tells)))
        if self.rule.curvature is not None and "curvature" not in self._needs:
            unread = f"left out with {self.measure.name!r}, for which none is gathered"
            raise invalid("Pruner(curvature=)", unread, self.rule.curvature)
        self._round = 0
        self._feasible = False  # whether the schedule is known to fit the model's units
        if not granularity.removes and self.rule.reference_compat:
            todo = "The published code has no pruning of single weights."
            raise invalid("Pruner(reference_compat=)", f"False with a granularity of {granularity.name}", True, todo)
        revives = self.rule.revives(self.measure)
        if revives and granularity.removes:
            todo = "Use a granularity of weights, or a measure whose cuts stay, such as iter_snip."
            raise invalid("Pruner(measure=)", f"one whose cuts stay with {granularity.name}", self.measure.name, todo)
        way = Shrinking(model, self.rule) if granularity.removes else Masking(model, self.rule, revives=revives)
        self._way = way
        self._scorer = Scorer(model, self.measure, self.objective, self.granularity, self.rule, way)
        # An event tells what shrinks from what is masked.
        units = granularity.name if granularity.removes else "weights"
        self._waits = None if when is None else Waiting(model, when, sparsity=self.targets[-1], granularity=units)

    @property
    def solution(self) -> Solution | None:
        """The budget as it was solved last: after the last round, what was achieved. None without a budget."""
        return self._aim.solution if isinstance(self._aim, BudgetAim) else None

    @property
    def done(self) -> bool:
        """Whether all rounds were cut."""
        return self._round == self.schedule.rounds or (self._adapts is not None and self._adapts.reached)

    @property
    def waiting(self) -> bool:
        """Whether an event has yet to fire before the first cut: "not yet", where :attr:`done` is "no more"."""
        return self._waits is not None and self._round == 0 and not self._waits.event.fired

    @property
    def event(self) -> Event | None:
        """The event as it stands, with its readings; None where none was asked for. Save its ``state()`` to resume."""
        return None if self._waits is None else self._waits.event

    @property
    def anchor(self) -> dict[str, Tensor] | None:
        """The weights that the event counts movement from, those of the first look; None where none does.

        They are the pruner's own copies, on the model's device. Save them with the event's state, and set them after
        :meth:`resume`.
        """
        return None if self._waits is None else self._waits.anchor

    @anchor.setter
    def anchor(self, weights: Mapping[str, Tensor] | None) -> None:
        if self._waits is None and weights is not None:
            raise invalid("Pruner.anchor", "set only where there is an event", list(weights), "Pass Pruner(when=).")
        if self._waits is not None:
            self._waits.anchor = weights

    @property
    def masks(self) -> Masks | None:
        """Everything cut so far as masks of the original model; None before the first cut."""
        return self._way.masks

    def step(self, batches: Iterable[Any] = ()) -> Cut | None:
        """Score on the batches and cut the next round's units; None while :attr:`waiting`, and once all is done.

        Args:
            batches: Any iterable of batches; it is read once. It may be empty where nothing reads it: a measure
                without signals, or a look at an event that reads no mask.

        Raises:
            PruningError: a check failed, or a layer would be emptied; at the first call also a last target that floors
                and protection do not leave, see :meth:`require_feasible`.
            ValueError: no batches, or a loss or scores that are not finite; at the first call also more rounds than
                units, or a pattern of protection that fits no layer.
        """
        self._way.verify()
        self._check_optimizer()
        return None if self.done else self._step(batches)

    def finish(self, batches: Iterable[Any] = ()) -> Rounds:
        """All rounds that are left, with nothing in between: as many calls of :meth:`step` would cut the same.

        Nothing of a round is kept but what :class:`~flowprune.prune.records.Rounds` has, so that signals need be no
        copies; and no weight can have moved from one round to the next.

        Args:
            batches: Read once in every round, where the measure needs signals.

        Raises:
            PruningError: as :meth:`step`.
            ValueError: as :meth:`step`, or an event has yet to fire.

        Example:
            >>> from flowprune.masks import Weights
            >>> from flowprune.schedules import rounds
            >>> how = {"measure": "magnitude", "granularity": Weights(), "objective": None}
            >>> left = Pruner(nn.Linear(4, 2), **how, schedule=rounds(3, sparsity=0.5)).finish()
            >>> len(left.cuts), left.before.kept, left.masks.kept
            (3, 5, 4)
        """
        if self.waiting:
            raise invalid("Pruner.finish()", "called once the event has fired", self.event, "Call step() until then.")
        self._way.verify()
        self._check_optimizer()
        left = Rounds((), Scores({}), None, self.masks)
        while not self.done:
            # The last scores are kept, and a measure may give the parameters as they are.
            cut = self._step(batches, copies=self._adapts is not None or self._round == self.schedule.rounds - 1)
            left = Rounds((*left.cuts, cut.numbers()), cut.scores, left.masks, self.masks) if cut else left
            del cut
        return left

    def _step(self, batches: Iterable[Any], *, copies: bool = True) -> Cut | None:
        """One round, or one look."""
        began = perf_counter()
        found = None
        if self._adapts is not None:
            batches = list(batches)
        observes = self._needs != self.measure.needs
        if self._waits is not None and self.waiting:
            if observes and self._waits.reads_mask:
                batches = list(batches)  # what is observed besides is gathered once it fires
            found = self._look(self._waits, batches)
            if self.waiting:
                return None
        if found is None or observes:
            signals = self._scorer.gather(batches, self._needs, self._round, copies=copies)
        else:
            signals = found[0]
        gathered = perf_counter()
        self._way.checks_zeros = copies
        if self._adapts is not None:
            self._adapts.stand(self.model, self.objective, batches, signals)
        cut = self._cut(signals, self._scored(batches, signals) if found is None else found[1])
        return replace(cut, gather_seconds=gathered - began, cut_seconds=perf_counter() - gathered)

    def resume(self, masks: Masks | None, *, rounds: int, event: Mapping[str, Any] | None = None) -> None:
        """Go on after ``rounds`` cuts that another pruner did, in a run that was interrupted.

        Args:
            masks: Its :attr:`masks`. With channels, the model has been cut to them already. None: before the first cut.
            rounds: How many cuts those were.
            event: What its ``event.state()`` gave; where it still waited for the weights to settle, set
                :attr:`anchor` after this call.

        Raises:
            ValueError: more rounds than the schedule has, no masks after a cut, or an event that is not this one, or
                that had not fired before a cut.
        """
        if not 0 <= rounds <= self.schedule.rounds:
            raise invalid("Pruner.resume(rounds=)", f"between 0 and the schedule's {self.schedule.rounds}", rounds)
        if rounds and isinstance(self._aim, BudgetAim) and self._aim.budget.is_fraction:
            todo = "The dense model is not here any more: give the amount."
            raise invalid("Pruner.resume()", "of a budget in absolute numbers", self._aim.budget.words, todo)
        if masks is None and rounds:
            raise invalid("Pruner.resume(masks=)", f"given after {rounds} cuts", None)
        if event is not None:
            self._resume_event(event, rounds)
        if masks is not None:
            self._way.resume(masks)
            if self._adapts is not None:
                self._adapts.resume(masks)
        self._round = rounds

    def _resume_event(self, state: Mapping[str, Any], rounds: int) -> None:
        if self._waits is None:
            raise invalid("Pruner.resume(event=)", "None where there is no event", state, "Pass Pruner(when=).")
        self._waits.resume(state, cut=rounds > 0)

    def _look(self, waits: Waiting, batches: Iterable[Any]) -> tuple[Signals, Scores] | None:
        """Show the event the model; what it was scored with for that, None where it reads no mask."""
        if not waits.reads_mask:
            if not self._feasible and (
                not self.granularity.removes or getattr(self.granularity, "example_inputs", None) is not None
            ):
                self.require_feasible()
            waits.show(None)
            return None
        signals = self._scorer.gather(batches, self.measure.needs, self._round)
        scores = self._scored(batches, signals)
        waits.show(self._way.propose(scores, self._aim.pools(self._way, scores, self.schedule.rounds - 1)))
        return signals, scores

    def require_feasible(self, *, names: Names = PRUNER) -> None:
        """Raise where the rounds, the last target or the rule do not fit the units of this model, before the first cut.

        :meth:`step` does so by itself before anything is cut. Called here it costs a trace, and no batch is run.

        Args:
            names: What the caller's own arguments are called, for the errors.

        Raises:
            UnknownNameError: a pattern of ``protect`` that fits no layer.
            ValueError: more rounds than units to cut, or a floor that ``reference_compat`` would ignore.
            PruningError: floors and protection keep more than the last target leaves; the model cannot be traced.
        """
        self._require_feasible(units_of(self.granularity, self._scorer.gather((), (), 0)), names)

    def _require_feasible(self, units: Units, names: Names = PRUNER) -> None:
        if self._feasible or self._round:
            return
        if isinstance(self._aim, SparsityAim):  # a budget is solved for what is feasible
            require_feasible(units, self.rule, self.schedule.rounds, self._aim.end(units.whole()), names=names)
        self._feasible = True

    def _require_units(self, removed: int, total: int) -> None:
        """Raise where there are more rounds than units to cut in them."""
        rounds = self.schedule.rounds
        if rounds > max(removed, 1):
            rule = f"one of at most {max(removed, 1)} rounds, as {removed} of {total} units are to go"
            raise invalid("Pruner(schedule=)", rule, f"{rounds} rounds", "Cut in fewer rounds, or cut more.")

    def _check_optimizer(self) -> tuple[str, ...]:
        """The optimizer holds the live parameters of the names it held when pruning began, with state to match."""
        if self.optimizer is None:
            return ()
        size = sum(len(group["params"]) for group in self.optimizer.param_groups)
        foreign = size - len(held_names(self.optimizer, self.model))
        assert_live(self.optimizer, self.model, held=self._held, foreign=foreign)
        return ("live optimizer",)

    def _scored(self, batches: Iterable[Any], signals: Signals) -> Scores:
        """Scores of this round."""
        if not self._feasible and not self._round:
            self._require_feasible(units_of(self.granularity, signals))
        target = self.targets[self._round] if self.targets else None
        return self._scorer.score(batches, signals, self._round, sparsity=target)

    def _cut(self, signals: Signals, scores: Scores) -> Cut:
        example = getattr(self.granularity, "example_inputs", None)
        example = signals.example_inputs if example is None else example
        pools = self._aim.pools(self._way, scores, self._round, example_inputs=example)
        masks = self._way.choose(scores, pools)
        total, before, after = self._way.counts(masks)
        if isinstance(self._aim, BudgetAim):
            self._require_units(self._aim.removed, total)
        hits = self._way.floor_hits(masks)
        passed = self._way.carry_out(masks, pools, self.optimizer, probe_of(example))
        self._held = self._way.renamed(self._held)
        checks = (*passed, *self._check_optimizer())
        self._round += 1
        return Cut(
            round=self._round,
            rounds=self.schedule.rounds,
            target=_fraction(pools),
            units_total=total,
            units_before=before,
            units_after=after,
            signals=signals,
            scores=scores,
            masks=masks,
            floor_hits=hits,
            checks=checks,
            stage=None if self._adapts is None else self._adapts.stage,
        )


def _fraction(pools: Sequence[Pool]) -> float:
    """The fraction that the pools say is to be gone; where they say one, that very number."""
    each = {pool.sparsity for pool in pools}
    if len(each) == 1:
        return each.pop()
    return sum(pool.remove for pool in pools) / sum(pool.total for pool in pools)
