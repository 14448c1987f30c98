"""Pruning inside a training loop: one call an epoch cuts the model in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Unpack

from torch import Tensor, nn
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
from flowprune.prune.waiting import Waiting
from flowprune.schedules import Event, Schedule
from flowprune.signals import Signals, gather


class Pruner:
    """Cuts a model in rounds, in place: same object, same module names; parameters and optimizer state follow.

    With channels the model becomes physically smaller; with weights it is masked. After every cut it is verified
    that the smaller model computes what the masked one does, that the optimizer holds the live parameters and
    state to match, that the sparsity is exact, and, at the next call, that masked weights are still zero.

    With ``when``, calls before the event fires are looks: what the event reads is computed, and the model is left as
    found. The call in which it fires makes the first cut.

    Args:
        model: Cut in place.
        optimizer: Follows the cut; None where there is none.
        measure: A name in ``MEASURES``, or a measure.
        granularity: ``fp.Weights()`` or ``fp.Channels(example_inputs=x)``.
        objective: As for ``fp.gather``.
        schedule: With its sparsity, e.g. ``fp.schedules.rounds(5, sparsity=0.75)``.
        when: An event before which nothing is cut, e.g. ``fp.schedules.early_bird()``; None: cut at the first call.
        rule: scope, floor, protect, momentum, observe, mode, options, normalise, reference_compat; see
            :class:`~flowprune.prune.rule.Rule`.

    Raises:
        UnknownNameError: an unknown measure, scope or way with momentum.
        ValueError: a schedule without a sparsity, a floor out of range, an optimizer of another model, or an event that
            has seen a look already or cannot be waited for at this sparsity.

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
        self._waits = (
            None if when is None else Waiting(model, when, sparsity=self.targets[-1], granularity=granularity.name)
        )

    @property
    def done(self) -> bool:
        """Whether all rounds were cut."""
        return self._round == len(self.targets)

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
            PruningError: a check failed, or a layer would be emptied.
            ValueError: no batches, or a loss or scores that are not finite.
        """
        self._way.verify()
        self._check_optimizer()
        if self.done:
            return None
        began = perf_counter()
        found = None
        observes = self._needs != self.measure.needs
        if self._waits is not None and self.waiting:
            if observes and self._waits.reads_mask:
                batches = list(batches)  # what is observed besides is gathered once it fires
            found = self._look(self._waits, batches)
            if self.waiting:
                return None
        signals = self._gather(batches, self._needs) if found is None or observes else found[0]
        gathered = perf_counter()
        cut = self._cut(signals, self._score(signals) if found is None else found[1])
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
        if not 0 <= rounds <= len(self.targets):
            raise invalid("Pruner.resume(rounds=)", f"between 0 and the schedule's {len(self.targets)}", rounds)
        if masks is None and rounds:
            raise invalid("Pruner.resume(masks=)", f"given after {rounds} cuts", None)
        if event is not None:
            self._resume_event(event, rounds)
        if masks is not None:
            self._way.resume(masks)
        self._round = rounds

    def _resume_event(self, state: Mapping[str, Any], rounds: int) -> None:
        if self._waits is None:
            raise invalid("Pruner.resume(event=)", "None where there is no event", state, "Pass Pruner(when=).")
        self._waits.resume(state, cut=rounds > 0)

    def _look(self, waits: Waiting, batches: Iterable[Any]) -> tuple[Signals, Scores] | None:
        """Show the event the model; what it was scored with for that, None where it reads no mask."""
        if not waits.reads_mask:
            waits.show(None)
            return None
        signals = self._gather(batches, self.measure.needs)
        scores = self._score(signals)
        waits.show(self._way.propose(scores, self.targets[-1]))
        return signals, scores

    def _require_units(self, total: int) -> None:
        """Raise where there are more rounds than units to cut in them."""
        rounds, removed = len(self.targets), round(self.targets[-1] * total)
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

    def _gather(self, batches: Iterable[Any], needs: Sequence[str]) -> Signals:
        """The signals, with example inputs for the probe also where no batch had to be run."""
        if needs:
            return gather(self.model, self.objective, batches, needs=needs, mode=self.rule.mode)
        example = getattr(self.granularity, "example_inputs", None)
        if example is None:
            first = next(iter(batches), None)
            example = None if first is None else inputs_of(first)
        return replace(gather(self.model, self.objective, (), needs=()), example_inputs=probe_of(example))

    def _score(self, signals: Signals) -> Scores:
        return score(self.measure, signals, self.granularity, normalise=self.rule.normalise, **self.rule.options)

    def _cut(self, signals: Signals, scores: Scores) -> Cut:
        target = self.targets[self._round]
        masks = self._way.choose(scores, target)
        total, before, after = self._way.counts(masks)
        self._require_units(total)
        hits = self._way.floor_hits(masks)
        example = getattr(self.granularity, "example_inputs", None)
        probe = probe_of(signals.example_inputs if example is None else example)
        passed = self._way.carry_out(masks, target, self.optimizer, probe)
        self._held = self._way.renamed(self._held)
        checks = (*passed, *self._check_optimizer())
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
