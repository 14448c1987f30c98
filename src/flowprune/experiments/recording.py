"""What is written down while a run goes on: one function per kind of row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict

import torch
from torch import Tensor, nn

from flowprune.analysis import (
    Flow,
    StepChange,
    flow,
    measured_flow,
    predicted_change,
    predicted_gradient_norm_change,
)
from flowprune.core.errors import invalid
from flowprune.core.files import sha256
from flowprune.core.tensors import squared_norm
from flowprune.data import Batches
from flowprune.experiments.parts import Parts
from flowprune.experiments.rows import Row
from flowprune.masks import Masks, expand
from flowprune.prune import Cut, Pruner
from flowprune.prune.stages import Stage
from flowprune.schedules import Event, Schedule
from flowprune.signals import Signals, gather, mean_loss
from flowprune.train import EpochRecord


def epoch_row(record: EpochRecord) -> Row:
    """kind="epoch": the losses and accuracies of one epoch."""
    return {"kind": "epoch", **asdict(record)}


def flow_row(parts: Parts, epoch: int, *, fraction: float) -> Row:
    """kind="flow": the norm and its derivatives under gradient flow, predicted (E3, E4) and measured.

    Measured also at half the step: where that gives another derivative, the step crossed a kink, and neither is right.
    """
    needs = ("gradient", "hessian_gradient")
    predicted = flow(gather(parts.model, parts.objective, parts.observed, needs=needs))
    step = short_time(predicted, fraction)
    measured, halved = (measured_flow(parts.model, parts.objective, parts.observed, step=s) for s in (step, step / 2))
    return {
        "kind": "flow",
        "epoch": epoch,
        "norm2": predicted.norm2,
        "velocity": predicted.velocity,
        "acceleration": predicted.acceleration,
        "measured_velocity": measured.velocity,
        "measured_acceleration": measured.acceleration,
        "measured_velocity_half_step": halved.velocity,
        "measured_acceleration_half_step": halved.acceleration,
        "loss": predicted.loss,
        "loss_velocity": predicted.loss_velocity,
        "gradient_norm2": predicted.gradient_norm2,
    }


def short_time(at: Flow, fraction: float) -> float:
    """The time in which gradient flow lowers the loss by ``fraction`` of it: fraction * L / ||g||^2.

    A steep loss is so followed in small steps, and few ReLU kinks are crossed, where the second derivative jumps.

    Units: learning rate times steps. At a stationary point, or without a loss, the fraction itself.

    Example:
        >>> short_time(Flow(5.0, -10.0, 20.0, 2.0, -4.0, 4.0, None), 0.01)
        0.005
    """
    return fraction * (at.loss or 1.0) / (at.gradient_norm2 or 1.0)


def training_flow_row(change: StepChange, epoch: int) -> Row:
    """kind="training_flow": the norm over the optimizer's own steps, predicted by E3, corrected, and measured."""
    return {"kind": "training_flow", "epoch": epoch, **asdict(change)}


def cut_rows(parts: Parts, pruner: Pruner, epoch: int, *, turn: int, event: str | None = None) -> Iterator[Row]:
    """Cut once, and tell: kind="cut" with predicted (E6, E7) and measured changes, kind="layer" for each layer.

    The measured changes are those of the masked model: removing a channel takes its gradient entries away too,
    which E7 does not speak of. What is predicted is what the pruner observes. ``event`` names what the first cut waits
    for.
    """
    batches = parts.scoring(turn)
    uncut = deepcopy(parts.model) if pruner.rule.observe else None
    waited = pruner.waiting
    cut = pruner.step(batches)
    if waited and pruner.event is not None:
        yield look_row(pruner.event, epoch, name=event or pruner.event.name)
    if cut is None or pruner.masks is None:
        return
    changes = {} if uncut is None else _changes(parts, cut, uncut, batches)
    yield {**cut_row(cut, epoch, batches), **changes, "checks": list(cut.checks)}
    yield from layer_rows(cut.floor_hits, pruner.masks, turn=cut.round)


def look_row(event: Event, epoch: int, *, name: str) -> Row:
    """kind="look": what the event that the first cut waits for made of the network after an epoch."""
    value, threshold, fired = event.readings[-1]
    return {
        "kind": "look",
        "epoch": epoch,
        "event": name,
        "value": value,
        "threshold": threshold,
        "fired": fired,
    }


def cut_row(cut: Cut, epoch: int, batches: Batches) -> Row:
    """kind="cut": how much a cut took, on which samples, and how long it was at it."""
    return {
        "kind": "cut",
        "round": cut.round,
        "epoch": epoch,
        "target_sparsity": cut.target,
        "achieved_sparsity": cut.achieved,
        "units_before": cut.units_before,
        "units_after": cut.units_after,
        "scored_on": index_fingerprint(batches.indices),
        "gather_seconds": cut.gather_seconds,
        "cut_seconds": cut.cut_seconds,
        **_stage(cut),
    }


def _stage(cut: Cut) -> Row:
    """What was predicted and measured of a stage that was sized by that."""
    stage = cut.stage
    if stage is None:
        return {}
    told = {"predicted": stage.predicted, "measured": stage.measured, "trials": stage.trials, "within": stage.within}
    return {f"stage_{name}": value for name, value in told.items()}


def stages_row(found: Iterable[Stage | None], schedule: Schedule | None) -> Row:
    """Of all stages that were sized by what is predicted and measured of them; empty for those of a fixed pace."""
    stages = [stage for stage in found if stage is not None]
    if schedule is None or schedule.adapt is None:
        return {}
    return {
        "stages": len(stages),
        "stage_tolerance": schedule.adapt.tolerance,
        "stages_within": sum(stage.within for stage in stages),
        "stage_trials": sum(stage.trials for stage in stages),
        "stage_predicted": sum(stage.predicted for stage in stages),
    }


def index_fingerprint(indices: Tensor) -> str:
    """Which images a measure saw: twelve hexadecimal digits of SHA-256 over their positions in the source, in order.

    Example:
        >>> index_fingerprint(torch.tensor([2, 0])) == index_fingerprint(torch.tensor([0, 2]))
        False
    """
    return sha256(indices.cpu().to(torch.int64).numpy().tobytes())[:12]


def _changes(parts: Parts, cut: Cut, uncut: nn.Module, batches: Batches) -> dict[str, float]:
    """Predicted and measured change of the loss and, where H·g is known, of the squared gradient norm.

    Besides, the measured change of the loss that is trained on: measures scored at several temperatures compare by it.
    """
    before = cut.signals
    second = before.hessian_gradient is not None
    trained = mean_loss(uncut, parts.objective, batches)
    masked = _masked(uncut, cut.masks)
    after = gather(masked, parts.scored, batches, needs=("gradient",))
    loss = scored_loss(before)
    norm2 = squared_norm(before.require("gradient"))
    changes = {
        "loss": loss,
        "predicted_loss_change": predicted_change(before, cut.masks),
        "measured_loss_change": scored_loss(after) - loss,
        "trained_loss": trained,
        "measured_trained_loss_change": mean_loss(masked, parts.objective, batches) - trained,
        "gradient_norm2": norm2,
    }
    if second:
        changes["predicted_gradient_norm2_change"] = predicted_gradient_norm_change(before, cut.masks)
        changes["measured_gradient_norm2_change"] = squared_norm(after.require("gradient")) - norm2
    return changes


def scored_loss(signals: Signals) -> float:
    """The loss that signals are of.

    Raises:
        ValueError: no batch was run for them.
    """
    if signals.loss is None:
        raise invalid("scored_loss(signals=)", "gathered with a loss", signals, 'Ask for needs=("gradient",).')
    return signals.loss


def layer_rows(hits: Collection[str], masks: Masks, *, turn: int) -> Iterator[Row]:
    """kind="layer": what is left of each layer after a round, and whether that is its floor."""
    for layer, count in masks.per_layer().items():
        yield {
            "kind": "layer",
            "round": turn,
            "layer": layer,
            "units": count.total,
            "kept": count.kept,
            "floor_hit": layer in hits,
        }


@torch.no_grad()
def _masked(model: nn.Module, masks: Masks) -> nn.Module:
    """The model with what the masks cut at zero; a copy is expected, as it is changed."""
    params: Mapping[str, nn.Parameter] = dict(model.named_parameters())
    for name, keep in expand(params, masks).items():
        params[name].mul_(keep.to(params[name].device))
    return model
