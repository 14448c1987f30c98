"""What increasing against preserving the gradient norm shows."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.report.sentences.paired import HOW, told
from flowprune.report.shapes.gradient_norm import GradientNorm, Track
from flowprune.report.spread import Spread
from flowprune.report.wording import accuracy, cut_in, figures, joined


def say(records: GradientNorm) -> str:
    """Where each variant ended, on test accuracy and train loss, and whether preservation did better."""
    pruned = [track for track in records.tracks if not track.variant.config.dense]
    parts = [part for part in (_accuracies(pruned), _losses(pruned)) if part]
    return f"Cut in {cut_in(records.rounds)}, {'; '.join(parts)}.{_claim(records)}"


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


def _claim(records: GradientNorm) -> str:
    """Preservation against each increase, by final test accuracy, at every number of rounds."""
    found = [f"against {name} {told(pairs)}" for name, pairs in records.pairs.items()]
    return f" Preservation ended {'; '.join(found)}." if found else ""


def caption(records: GradientNorm) -> str:
    """What is drawn, and how."""
    lines = [curve for track in records.tracks for curve in (track.loss, track.accuracy) if curve]
    n = sorted({value.n for curve in lines for value in curve.values})
    seeds = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
    band = "band: ± one sample standard deviation" if n[-1] > 1 else "one seed, so no band"
    return (
        f"Lines: means over seeds ({seeds}); {band}. Increase removes the units with the most negative Σθ·Hg (GraSP),"
        " preservation those with the smallest |Σθ·Hg|; T divides the logits while scoring, not while training. Train"
        f" loss: of the epoch's own batches, nats. {HOW} Drawn: the largest number of rounds."
    )
