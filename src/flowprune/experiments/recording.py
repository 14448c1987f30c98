"""What is written down while a run goes on: one function per kind of row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import combinations

import torch
from torch import nn

from flowprune.analysis import (
    Flow,
    agreement,
    flow,
    measured_flow,
    predicted_change,
    predicted_gradient_norm_change,
)
from flowprune.core.tensors import squared_norm
from flowprune.core.units import Layout
from flowprune.experiments.parts import Parts
from flowprune.experiments.rows import Row
from flowprune.experiments.spec import RecordSpec
from flowprune.masks import Masks, expand
from flowprune.measures import MEASURES, score
from flowprune.prune import Cut, Pruner
from flowprune.signals import Signals, gather
from flowprune.train import EpochRecord


def epoch_row(record: EpochRecord) -> Row:
    """kind="epoch": the losses and accuracies of one epoch."""
    return {"kind": "epoch", **asdict(record)}


def flow_row(parts: Parts, epoch: int, *, fraction: float) -> Row:
    """kind="flow": the norm and its derivatives under gradient flow, predicted (E3, E4) and measured."""
    needs = ("gradient", "hessian_gradient")
    predicted = flow(gather(parts.model, parts.objective, parts.observed, needs=needs))
    step = short_time(predicted, fraction)
    measured = measured_flow(parts.model, parts.objective, parts.observed, step=step)
    return {
        "kind": "flow",
        "epoch": epoch,
        "norm2": predicted.norm2,
        "velocity": predicted.velocity,
        "acceleration": predicted.acceleration,
        "measured_velocity": measured.velocity,
        "measured_acceleration": measured.acceleration,
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


@dataclass(frozen=True)
class _Known:
    """A granularity whose layout was found before: several measures score the same units."""

    name: str
    found: Layout | None

    def layout(self, signals: Signals) -> Layout | None:
        del signals
        return self.found


def agreement_rows(parts: Parts, record: RecordSpec, epoch: int, *, sparsity: float) -> Iterator[Row]:
    """kind="agreement": how far each pair of measures agrees, before the first cut."""
    measures = [MEASURES[name] for name in record.agreement]
    needs = dict.fromkeys(need for measure in measures for need in measure.needs)
    signals = gather(parts.model, parts.scored, parts.scoring, needs=tuple(needs))
    units = parts.granularity
    if units.name != "weights":
        units = _Known(units.name, units.layout(replace(signals, model=parts.model)))
    scores = {measure.name: score(measure, signals, units) for measure in measures}
    for a, b in combinations(scores, 2):
        found = agreement(scores[a], scores[b], sparsity=sparsity)
        yield {
            "kind": "agreement",
            "round": 1,
            "epoch": epoch,
            "a": a,
            "b": b,
            "spearman": found.spearman,
            "pearson": found.pearson,
            "overlap": found.overlap,
        }


def cut_rows(parts: Parts, pruner: Pruner, epoch: int) -> Iterator[Row]:
    """Cut once, and tell: kind="cut" with predicted (E6, E7) and measured changes, kind="layer" for each layer.

    The measured changes are those of the masked model: removing a channel takes its gradient entries away too,
    which E7 does not speak of.
    """
    uncut = deepcopy(parts.model)
    cut = pruner.step(parts.scoring)
    if cut is None or pruner.masks is None:
        return
    yield _cut_row(parts, cut, uncut, epoch)
    yield from _layer_rows(cut, pruner.masks)


def _cut_row(parts: Parts, cut: Cut, uncut: nn.Module, epoch: int) -> Row:
    before = cut.signals
    after = gather(_masked(uncut, cut.masks), parts.scored, parts.scoring, needs=("gradient",))
    norm2, norm2_after = squared_norm(before.require("gradient")), squared_norm(after.require("gradient"))
    loss, loss_after = before.loss or 0.0, after.loss or 0.0
    return {
        "kind": "cut",
        "round": cut.round,
        "epoch": epoch,
        "target_sparsity": cut.target,
        "achieved_sparsity": cut.achieved,
        "units_before": cut.units_before,
        "units_after": cut.units_after,
        "loss": loss,
        "predicted_loss_change": predicted_change(before, cut.masks),
        "measured_loss_change": loss_after - loss,
        "gradient_norm2": norm2,
        "predicted_gradient_norm2_change": predicted_gradient_norm_change(before, cut.masks),
        "measured_gradient_norm2_change": norm2_after - norm2,
        "gather_seconds": cut.gather_seconds,
        "cut_seconds": cut.cut_seconds,
        "checks": list(cut.checks),
    }


def _layer_rows(cut: Cut, masks: Masks) -> Iterator[Row]:
    hits: Sequence[str] = cut.floor_hits
    for layer, count in masks.per_layer().items():
        yield {
            "kind": "layer",
            "round": cut.round,
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
