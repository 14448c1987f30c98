"""What a pruner sees of a model: its signals in a round, and the scores of its units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, Protocol

from torch import nn

from flowprune.core.errors import PruningError
from flowprune.core.seeds import derive
from flowprune.masks import Scores
from flowprune.masks.ablations import invert
from flowprune.measures import Granularity, Measure, score
from flowprune.measures.underflow import underflowing
from flowprune.objectives.batch import inputs_of
from flowprune.prune.checks import probe_of
from flowprune.prune.rule import Rule
from flowprune.signals import Signals, gather
from flowprune.signals.precision import Precise


class Seen(Protocol):
    """What the way in which units go adds to signals."""

    def gathered(self, gather: Callable[[], Signals]) -> Signals:
        """Signals of the network that is left."""
        ...

    def scored(self, signals: Signals) -> Signals:
        """What the measure sees of them."""
        ...


@dataclass(frozen=True, eq=False)
class Scorer:
    """Gathers and scores.

    Attributes:
        model: As it is now.
        measure: Of importance.
        objective: What is differentiated; None where nothing is.
        granularity: What a unit is.
        rule: mode, options, normalise, members, step_penalty, curvature, invert and seed of it are read.
        way: In which units go.
    """

    model: nn.Module
    measure: Measure
    objective: Any
    granularity: Granularity
    rule: Rule
    way: Seen

    def gather(
        self, batches: Iterable[Any], needs: Sequence[str], turn: int, *, copies: bool = True, double: bool = False
    ) -> Signals:
        """The signals, with example inputs for the probe also where no batch had to be run.

        Args:
            batches: Read once.
            needs: Of :func:`flowprune.gather`.
            turn: The round, from 0, of which random numbers are drawn.
            copies: Whether signals are copies of what the model holds.
            double: Whether a copy of the model in float64 is run.
        """
        if needs:
            seed = None if self.rule.seed is None else derive(self.rule.seed, "round", turn)
            objective = Precise(self.objective, "float64") if double else self.objective
            curvature = self.rule.curvature if "curvature" in needs else None
            how: dict[str, Any] = {"curvature": curvature, "mode": self.rule.mode, "seed": seed, "copies": copies}
            return self.way.gathered(lambda: gather(self.model, objective, batches, needs, **how))
        example = getattr(self.granularity, "example_inputs", None)
        if example is None:
            first = next(iter(batches), None)
            example = None if first is None else inputs_of(first)
        signals = gather(self.model, self.objective, (), needs=(), copies=copies)
        return replace(signals, example_inputs=probe_of(example))

    def score(self, batches: Iterable[Any], signals: Signals, turn: int, *, sparsity: float | None) -> Scores:
        """Scores of the units; from float64 where they are too small for the model's own type.

        Raises:
            PruningError: they are too small, and the batches cannot be read again.
        """
        scores = self._score(signals, sparsity)
        lost = underflowing(scores) if self.measure.needs else ()
        if lost:
            if iter(batches) is batches:
                raise PruningError(
                    f"score({self.measure.name!r}) must have scores that are told apart; those of {lost[0]!r} are too "
                    "small for float32, and the batches cannot be read again in float64. Pass a list of them."
                )
            scores = self._score(self.gather(batches, self.measure.needs, turn, double=True), sparsity)
        return invert(scores) if self.rule.invert else scores

    def _score(self, signals: Signals, sparsity: float | None) -> Scores:
        rule, seen = self.rule, self.way.scored(signals)
        options = {**self._options(sparsity), **rule.options}
        return score(
            self.measure,
            seen,
            self.granularity,
            normalise=rule.normalise,
            members=rule.members,
            step_penalty=rule.step_penalty,
            **options,
        )

    def _options(self, sparsity: float | None) -> Mapping[str, Any]:
        """Options that the measure needs for a sparsity, and the seed where it draws and one is given."""
        known = {} if self.measure.options_at is None or sparsity is None else self.measure.options_at(sparsity)
        draws = self.rule.seed is not None and "seed" in signature(self.measure.contributions).parameters
        return {**known, "seed": self.rule.seed} if draws else known
