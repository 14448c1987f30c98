"""How large a stage may be: cuts are tried until what is predicted of them is what is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.masks import Masks, Pool, Scores
from flowprune.masks.step import cut_step
from flowprune.measures import Measure
from flowprune.measures.predicted import predicted_change
from flowprune.prune.aim import SparsityAim, Way
from flowprune.schedules.adaptive import Adapt
from flowprune.signals import Mode, Signals, mean_loss
from flowprune.signals.step import curvature_along, loss_after_step


@dataclass(frozen=True)
class Stage:
    """What is known of one stage.

    Attributes:
        removed: Units that it cut.
        loss: Before it, over the batches it was scored on.
        predicted: The signed change of the loss, by the Taylor model.
        measured: The signed change of the loss.
        trials: How many sizes were tried.
        within: Whether the two agree within the tolerance.

    Example:
        >>> Stage(10, 2.0, 0.375, 0.25, 3, True).ratio
        1.5
    """

    removed: int
    loss: float
    predicted: float
    measured: float
    trials: int
    within: bool

    @property
    def ratio(self) -> float:
        """Predicted by measured; NaN where nothing was measured."""
        return self.predicted / self.measured if self.measured else float("nan")


@dataclass(frozen=True, eq=False)
class Point:
    """The network as the last stage left it.

    Attributes:
        model: As it is now; it is left so.
        objective: The mean loss.
        batches: Read once for each trial.
        signals: Gathered at these weights.
        adapt: Of which Taylor model.
        mode: Of the model.
    """

    model: nn.Module
    objective: Any
    batches: Sequence[Any]
    signals: Signals
    adapt: Adapt
    mode: Mode

    def loss(self) -> float:
        """The mean loss."""
        return mean_loss(self.model, self.objective, self.batches, mode=self.mode)

    def predicted(self, masks: Masks) -> float:
        """The signed change of the loss when these are cut, by the Taylor model."""
        if not self.adapt.full:
            return predicted_change(self.signals, masks, self.adapt.order)
        step = self._step(masks)
        along = curvature_along(self.model, self.objective, self.batches, step, mode=self.mode)
        return predicted_change(self.signals, masks) + 0.5 * along

    def loss_without(self, masks: Masks) -> float:
        """The mean loss with these at zero."""
        return loss_after_step(self.model, self.objective, self.batches, self._step(masks), mode=self.mode)

    def _step(self, masks: Masks) -> dict[str, Tensor]:
        return cut_step(dict(self.model.named_parameters()), masks)


class AdaptiveAim:
    """Targets that are found stage by stage.

    Attributes:
        targets: The slowest pace.
        removed: How many units are gone in the end; known once there are scores.
        reached: Whether the last stage was cut.
        stage: The record of the last stage; None before the first.
    """

    def __init__(self, aim: SparsityAim, adapt: Adapt) -> None:
        self._aim, self._adapt = aim, adapt
        self._point: Point | None = None
        self._last = 0  # units that the last stage cut
        self.targets, self.reached = aim.targets, False
        self.stage: Stage | None = None

    @property
    def removed(self) -> int:
        """How many units are gone in the end."""
        return self._aim.removed

    @property
    def needs(self) -> tuple[str, ...]:
        """Signals of the Taylor model."""
        return ("gradient", "curvature") if self._adapt.diagonal else ("gradient",)

    def require(self, measure: Measure, objective: Any, *, revives: bool) -> None:
        """Raise where stages cannot be measured.

        Raises:
            ValueError: no objective, a measure of another objective than the loss, or one whose cuts come back.
        """
        if objective is None:
            raise invalid("Pruner(objective=)", "given, for stages to be measured", None)
        if measure.objective is not None:
            rule = "a measure of the loss itself with adaptive stages, which are sized by what they cost of it"
            raise invalid("Pruner(measure=)", rule, measure.name, "Use fp.schedules.exponential(rounds).")
        if revives:
            todo = "Use fp.schedules.exponential(rounds)."
            raise invalid("Pruner(measure=)", "one whose cuts stay with adaptive stages", measure.name, todo)

    def resume(self, masks: Masks) -> None:
        """Go on where these masks of the original units were reached."""
        self.reached = masks.total - masks.kept >= round(self.targets[-1] * masks.total)

    def stand(self, model: nn.Module, objective: Any, batches: Iterable[Any], signals: Signals) -> None:
        """Where the next stage begins."""
        self._point = Point(model, objective, list(batches), signals, self._adapt, signals.mode)

    def end(self, units: Masks) -> tuple[Pool, ...]:
        """What is to be gone of the original units in the end."""
        return self._aim.end(units)

    def pools(self, way: Way, scores: Scores, index: int, *, example_inputs: object = None) -> tuple[Pool, ...]:
        """Of the largest stage that is within the tolerance, at least as large as the pace asks."""
        del example_inputs
        point = self._point
        if point is None:
            raise invalid("Pruner(schedule=)", "one of fixed stages where it is asked for in advance", "adaptive")
        alive = way.alive(scores)
        gone, total, last = alive.total - alive.kept, alive.total, round(self.targets[-1] * alive.total)
        rest = max(last - gone, 0)
        least = min(max(1, self._pace(gone, total, last, index) - gone), rest) if rest else 0
        loss = point.loss()

        def tried(removed: int) -> Stage:
            masks = way.propose(scores, self._at(way, scores, gone + removed, total, last))
            predicted, measured = point.predicted(masks), point.loss_without(masks) - loss
            return Stage(removed, loss, predicted, measured, 1, self._adapt.fits(predicted, measured, loss))

        self.stage = largest(tried, least=least, most=rest, begin=2 * self._last or rest, trials=self._adapt.trials)
        self._last, self.reached = self.stage.removed, self.stage.removed == rest
        return self._at(way, scores, gone + self.stage.removed, total, last)

    def _at(self, way: Way, scores: Scores, gone: int, total: int, last: int) -> tuple[Pool, ...]:
        target = self.targets[-1] if gone == last else gone / total
        return self._aim.reaching(way, scores, target)

    def _pace(self, gone: int, total: int, last: int, index: int) -> int:
        """How many must be gone after this stage: the same fraction of what is left in every one that remains."""
        left = len(self.targets) - index
        kept = (total - gone) * ((total - last) / (total - gone)) ** (1 / left)
        return last if left == 1 else min(last, total - int(kept))


def largest(tried: Callable[[int], Stage], *, least: int, most: int, begin: int, trials: int) -> Stage:
    """The largest stage within the tolerance that is found in so many trials.

    From ``begin`` on the size is doubled while it fits, or halved until it does; then the gap is bisected until it is a
    sixteenth of the size. Where nothing fits, the least size is taken, which then says that it does not.

    Args:
        tried: A stage of a size.
        least: The smallest size.
        most: The largest.
        begin: The size that is tried first.
        trials: How many are tried at most; ``least`` is always tried where none fits.

    Example:
        >>> stage = largest(lambda k: Stage(k, 1.0, 0.0, 0.0, 1, k <= 37), least=1, most=100, begin=100, trials=12)
        >>> stage.removed, stage.trials
        (37, 7)
    """
    fits: Stage | None = None
    above, size, count = most + 1, min(max(begin, least), most), 0
    while count < trials:
        stage, count = tried(size), count + 1
        if stage.within:
            fits = stage
        else:
            above = size
        low = least if fits is None else fits.removed
        if (size == most and stage.within) or above - low <= max(1, low // 16) or above <= least:
            break
        doubled = min(2 * low, most)
        if fits is None:
            size = max(least, above // 2)
        elif above > most and doubled > low:
            size = doubled
        else:
            size = (low + above) // 2
    if fits is None:
        fits, count = (tried(least), count + 1)
    return Stage(fits.removed, fits.loss, fits.predicted, fits.measured, count, fits.within)
