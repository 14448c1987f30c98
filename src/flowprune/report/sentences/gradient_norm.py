"""What increasing against preserving the gradient norm shows."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.report.sentences.convergence import APART
from flowprune.report.shapes.gradient_norm import INCREASE, PRESERVATION, GradientNorm, Track
from flowprune.report.spread import Spread, distinct
from flowprune.report.wording import accuracy, cut_in, figures, joined, signed


def say(records: GradientNorm) -> str:
    """Where each variant ended, on test accuracy and train loss, and whether preservation did better."""
    pruned = [track for track in records.tracks if not track.variant.config.dense]
    parts = [part for part in (_accuracies(pruned), _losses(pruned)) if part]
    return f"Cut in {cut_in(records.rounds)}, {'; '.join(parts)}.{_claim(pruned)}"


def _accuracies(tracks: Sequence[Track]) -> str:
    known = [(track.variant.name, track.accuracy.last) for track in tracks if track.accuracy]
    words = [f"{name} ended at {accuracy(value, count=not index)}" for index, (name, value) in enumerate(known[:1])]
    words += [f"{name} at {accuracy(value)}" for name, value in known[1:]]
    return f"{joined(words)} test accuracy" if words else ""


def _losses(tracks: Sequence[Track]) -> str:
    known = [f"{_loss(track.loss.last)} ({track.variant.name})" for track in tracks if track.loss]
    return f"the train loss of the last epoch was {joined(known)}" if known else ""


def _loss(value: Spread) -> str:
    return figures(value.mean) + ("" if value.std is None else f" ± {figures(value.std, 2)}")


def _claim(tracks: Sequence[Track]) -> str:
    """Preservation against each increase, by final test accuracy."""
    ends = [(track.variant, track.accuracy.last) for track in tracks if track.accuracy]
    kept = [(each, value) for each, value in ends if each.config.measure == PRESERVATION]
    raised = [(each, value) for each, value in ends if each.config.measure == INCREASE]
    if not kept or not raised:
        return ""
    best = kept[0][1]
    gaps = [(each.name, 100 * (best.mean - value.mean), distinct(best, value)) for each, value in raised]
    told = [f"{signed(gap)} points against {name} ({APART[apart]})" for name, gap, apart in gaps]
    words = f" Preservation ended {joined(told)}"
    if all(apart and gap > 0 for _, gap, apart in gaps):
        return f"{words}: preserving the gradient norm gave the better networks, as the founding paper reports."
    if all(apart and gap < 0 for _, gap, apart in gaps):
        return f"{words}: increasing it gave the better networks, against what the founding paper reports."
    return f"{words}."


def caption(records: GradientNorm) -> str:
    """What is drawn, and how."""
    lines = [curve for track in records.tracks for curve in (track.loss, track.accuracy) if curve]
    n = sorted({value.n for curve in lines for value in curve.values})
    seeds = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
    band = "band: ± one sample standard deviation" if n[-1] > 1 else "one seed, so no band"
    return (
        f"Lines: means over seeds ({seeds}); {band}. Increase removes the units with the most negative Σθ·Hg (GraSP),"
        " preservation those with the smallest |Σθ·Hg|; T divides the logits while scoring, not while training. Train"
        " loss: of the epoch's own batches, nats. Only the largest number of rounds is shown."
    )
