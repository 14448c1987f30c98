"""Pruning a trained network in stages with nothing in between, and what is written down of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flowprune.analysis import predicted_change
from flowprune.core.errors import PruningError
from flowprune.experiments.parts import Parts
from flowprune.experiments.recording import cut_row, layer_rows, scored_loss, stages_row
from flowprune.experiments.rows import Row
from flowprune.prune import Cut, Pruner
from flowprune.prune.stages import Stage
from flowprune.signals import mean_loss
from flowprune.train import EpochRecord, Evaluation, evaluate, select

SPLITS = ("train", "valid", "test")
CHANGES = ("predicted_loss_change", "predicted_loss_change_second", "measured_loss_change")
SPENT = ("gather_seconds", "cut_seconds")


def prune_trained(
    parts: Parts, pruner: Pruner, epoch: int, records: Sequence[EpochRecord], *, observed: bool
) -> Iterator[Row]:
    """All stages of a cut, in place, with a new optimizer state at the end; the rows that tell of it.

    kind="cut" for each stage: what the signals before it predict of the loss on the scoring samples, and what was
    measured there. kind="layer" for each layer at the end. kind="pruned" for the whole: loss and accuracy on each split
    without augmentation, right before and right after, and the sums of the stages' changes; of adaptive stages how many
    were within the tolerance, how many sizes were tried, and what their own model predicted.

    Args:
        parts: The model is the one to prune, and the optimizer forgets what it knew of it.
        pruner: Of that model, before its first stage.
        epoch: After which this happens.
        records: Of the dense network, the last one of this epoch.
        observed: Whether changes of the loss are recorded stage by stage.
    """
    before, stages = _evaluated(parts), _Stages(parts, pruner, epoch, observed=observed)
    yield from stages.cut()
    if pruner.masks is None:
        raise PruningError("prune_trained(pruner=) must cut in at least one stage.")
    yield from layer_rows(stages.hits, pruner.masks, turn=len(stages.rows))
    parts.optimizer.state.clear()
    after = _evaluated(parts)
    yield {
        "kind": "pruned",
        "epoch": epoch,
        "selected_epoch": select(records).selected_epoch,
        "stages": len(stages.rows),
        "achieved_sparsity": pruner.masks.sparsity,
        **_told(before, "before"),
        **_told(after, "after"),
        **_summed(stages.rows),
        **stages_row(stages.sized, pruner.schedule),
    }


@dataclass
class _Stages:
    """The stages of one cut, one after another, and their rows."""

    parts: Parts
    pruner: Pruner
    epoch: int
    observed: bool
    rows: list[Row] = field(default_factory=list[Row])
    sized: list[Stage | None] = field(default_factory=list["Stage | None"])
    hits: tuple[str, ...] = ()

    def cut(self) -> Iterator[Row]:
        """Cut until all is cut, a row for each stage."""
        while not self.pruner.done:
            batches = self.parts.scoring(len(self.rows) + 1)
            cut = self.pruner.step(batches)
            if cut is None:
                raise PruningError("prune_trained(pruner=) must be one that waits for no event.")
            changes = _changes(self.parts, cut, batches) if self.observed else {}
            self.hits = cut.floor_hits
            self.sized.append(cut.stage)
            self.rows.append({**cut_row(cut, self.epoch, batches), **changes, "checks": list(cut.checks)})
            yield self.rows[-1]


def _changes(parts: Parts, cut: Cut, batches: Iterable[object]) -> dict[str, float]:
    """Of the scored loss, by the stage: predicted to first and, where curvature is known, second order; measured."""
    signals = cut.signals
    loss = scored_loss(signals)
    found = {"loss": loss, "predicted_loss_change": predicted_change(signals, cut.masks)}
    if signals.curvature is not None:
        found["predicted_loss_change_second"] = predicted_change(signals, cut.masks, order=2)
    return {**found, "measured_loss_change": mean_loss(parts.model, parts.scored, batches) - loss}


def _evaluated(parts: Parts) -> dict[str, Evaluation]:
    """The whole of each split, as it is."""
    data = parts.dataset
    return {
        name: evaluate(parts.model, data.inputs(name), data.split(name).labels, objective=parts.objective)
        for name in SPLITS
    }


def _told(found: Mapping[str, Evaluation], when: str) -> dict[str, float | None]:
    fields = {f"{name}_loss_{when}": each.loss for name, each in found.items()}
    return {**fields, **{f"{name}_accuracy_{when}": each.accuracy for name, each in found.items()}}


def _summed(rows: Sequence[Row]) -> dict[str, float]:
    """Over the stages, whatever all of them tell."""
    summed: dict[str, float] = {}
    for name in (*CHANGES, *SPENT):
        values = [row[name] for row in rows if name in row]
        numbers = [value for value in values if isinstance(value, float)]
        if len(numbers) == len(rows):
            summed[name] = sum(numbers)
    return summed
