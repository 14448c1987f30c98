"""Pruning inside a training loop: one call an epoch cuts the model in place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from time import perf_counter
from typing import Any, Unpack

from torch import nn
from torch.optim import Optimizer

from flowprune.core.arguments import call
from flowprune.core.errors import invalid
from flowprune.core.optimizer_state import assert_live, held_names
from flowprune.masks import Masks, Scores
from flowprune.measures import MEASURES, Granularity, Measure, score
from flowprune.objectives.batch import inputs_of
from flowprune.prune.checks import probe_of
from flowprune.prune.masking import Masking
from flowprune.prune.records import Cut
from flowprune.prune.rule import Rule, RuleOptions
from flowprune.prune.shrinking import Shrinking
from flowprune.schedules import Schedule
from flowprune.signals import Signals, gather


class Pruner:
    """Cuts a model in rounds, in place: same object, same module names; parameters and optimizer state follow.

    With channels the model becomes physically smaller; with weights it is masked. After every cut it is verified
    that the smaller model computes what the masked one does, that the optimizer holds the live parameters and
    state to match, that the sparsity is exact, and, at the next call, that masked weights are still zero.

    Args:
        model: Cut in place.
        optimizer: Follows the cut; None where there is none.
        measure: A name in ``MEASURES``, or a measure.
        granularity: ``fp.Weights()`` or ``fp.Channels(example_inputs=x)``.
        objective: As for ``fp.gather``.
        schedule: With its sparsity, e.g. ``fp.schedules.rounds(5, sparsity=0.75)``.
        rule: scope, floor, protect, momentum, observe, mode, options, reference_compat; see
            :class:`~flowprune.prune.rule.Rule`.

    Raises:
        UnknownNameError: an unknown measure, scope or way with momentum.
        ValueError: a schedule without a sparsity, a floor out of range, or an optimizer of another model.

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
        **rule: Unpack[RuleOptions],
    ) -> None:
        self._held = frozenset[str]() if optimizer is None else held_names(optimizer, model)
        if optimizer is not None and not self._held:
            raise invalid(
                "Pruner(optimizer=)",
                "one that trains the model",
                "one that holds none of its parameters",
                "Build it on the model that is pruned; None where nothing is trained.",
            )
        self.model, self.optimizer = model, optimizer
        self.measure = MEASURES[measure] if isinstance(measure, str) else measure
        if self.measure.needs and objective is None:
            raise invalid("Pruner(objective=)", f"given, because {self.measure.name!r} needs signals", objective)
        self.granularity, self.objective = granularity, objective
        self.rule = call("Pruner(...)", Rule, rule)
        self.targets = schedule.targets()
        self._needs = tuple(dict.fromkeys((*self.measure.needs, *self.rule.observe)))
        self._round = 0
        weights = granularity.name == "weights"
        if weights and self.rule.reference_compat:
            todo = "The published code has no pruning of single weights."
            raise invalid("Pruner(reference_compat=)", "False with a granularity of weights", True, todo)
        self._way = Masking(model, self.rule) if weights else Shrinking(model, self.rule)

    @property
    def done(self) -> bool:
        """Whether all rounds were cut."""
        return self._round == len(self.targets)

    @property
    def masks(self) -> Masks | None:
        """Everything cut so far as masks of the original model; None before the first cut."""
        return self._way.masks

    def step(self, batches: Iterable[Any]) -> Cut | None:
        """Score on the batches and cut the next round's units; None once all rounds are done.

        Args:
            batches: Any iterable of batches; it is read once.

        Raises:
            PruningError: a check failed, or a layer would be emptied.
            ValueError: no batches, or a loss or scores that are not finite.
        """
        self._way.verify()
        self._check_optimizer()
        if self.done:
            return None
        began = perf_counter()
        signals = self._gather(batches)
        gathered = perf_counter()
        scores = score(self.measure, signals, self.granularity, **self.rule.options)
        cut = self._cut(signals, scores)
        return replace(cut, gather_seconds=gathered - began, cut_seconds=perf_counter() - gathered)

    def resume(self, masks: Masks, *, rounds: int) -> None:
        """Go on after ``rounds`` cuts that another pruner did, in a run that was interrupted.

        Args:
            masks: Its :attr:`masks`. With channels, the model has been cut to them already.
            rounds: How many cuts those were.

        Raises:
            ValueError: more rounds than the schedule has.
        """
        if not 0 <= rounds <= len(self.targets):
            raise invalid("Pruner.resume(rounds=)", f"between 0 and the schedule's {len(self.targets)}", rounds)
        self._way.resume(masks)
        self._round = rounds

    def _check_optimizer(self) -> tuple[str, ...]:
        """The optimizer holds the live parameters of the names it held when pruning began, with state to match."""
        if self.optimizer is None:
            return ()
        size = sum(len(group["params"]) for group in self.optimizer.param_groups)
        foreign = size - len(held_names(self.optimizer, self.model))
        assert_live(self.optimizer, self.model, held=self._held, foreign=foreign)
        return ("live optimizer",)

    def _gather(self, batches: Iterable[Any]) -> Signals:
        """The signals, with example inputs for the probe also where no batch had to be run."""
        if self._needs:
            return gather(self.model, self.objective, batches, needs=self._needs, mode=self.rule.mode)
        example = getattr(self.granularity, "example_inputs", None)
        if example is None:
            first = next(iter(batches), None)
            example = None if first is None else inputs_of(first)
        return replace(gather(self.model, self.objective, (), needs=()), example_inputs=probe_of(example))

    def _cut(self, signals: Signals, scores: Scores) -> Cut:
        target = self.targets[self._round]
        masks = self._way.choose(scores, target)
        total, before, after = self._way.counts(masks)
        hits = self._way.floor_hits(masks)
        example = getattr(self.granularity, "example_inputs", None)
        probe = probe_of(signals.example_inputs if example is None else example)
        checks = (*self._way.carry_out(masks, target, self.optimizer, probe), *self._check_optimizer())
        self._round += 1
        return Cut(
            round=self._round,
            rounds=len(self.targets),
            target=target,
            units_total=total,
            units_before=before,
            units_after=after,
            signals=signals,
            scores=scores,
            masks=masks,
            floor_hits=hits,
            checks=checks,
        )
