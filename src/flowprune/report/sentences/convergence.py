"""What convergence after the last cut shows."""

from __future__ import annotations

from flowprune.report.shapes.convergence import Convergence, Pace, Split
from flowprune.report.shapes.runs import Config
from flowprune.report.spread import distinct
from flowprune.report.wording import accuracy, cut_in, joined

APART = {None: "spread unknown", True: "beyond the spread", False: "within the spread"}


def say(records: Convergence) -> str:
    """Which measure has the highest mean accuracy over the epochs after the last cut, on train and on test."""
    parts = [part for split in records.splits if (part := _split(split, first=split is records.splits[0]))]
    if not parts:
        return f"Cut in {cut_in(records.rounds)}, no epoch after the last cut is known of all runs."
    return f"Cut in {cut_in(records.rounds)}, {'; '.join(parts)}.{_claim(records.splits[0])}"


def _split(split: Split, *, first: bool) -> str:
    ranked = sorted((pace for pace in split.paces if not pace.config.dense), key=lambda pace: -pace.value.mean)
    if not ranked:
        return ""
    best, rest = ranked[0], ranked[1:]
    over = f" over the {_epochs(split)}" if first else ""
    words = f"{best.config.name} has the {'highest ' if rest else ''}mean {split.name} accuracy{over}"
    words += f", {accuracy(best.value, count=first)}"
    others = [f"{accuracy(pace.value)} for {pace.config.name} ({_apart(best, pace)})" for pace in rest]
    return words + (f", against {joined(others)}" if others else "") + _dense(split)


def _epochs(split: Split) -> str:
    first, last = split.epochs[0], split.epochs[-1]
    count = len(split.epochs)
    return (
        f"epoch after the last cut ({first})"
        if count == 1
        else f"{count} epochs after the last cut ({first} to {last})"
    )


def _apart(a: Pace, b: Pace) -> str:
    return APART[distinct(a.value, b.value)]


def _dense(split: Split) -> str:
    found = [pace for pace in split.paces if pace.config.dense]
    return "".join(f" (dense training: {accuracy(pace.value)})" for pace in found[:1])


def _claim(split: Split) -> str:
    """Whether magnitude trains faster than loss preservation, as the founding paper says; by train accuracy."""
    plain: dict[Config, Pace] = {pace.config: pace for pace in split.paces}
    pairs = [
        (pace, other)
        for each, pace in plain.items()
        for it, other in plain.items()
        if (each.measure, it.measure) == ("magnitude", "loss_preservation") and each.setting == it.setting
    ]
    if not pairs:
        return ""
    magnitude, loss = pairs[0]
    apart = distinct(magnitude.value, loss.value)
    if apart is None:
        return " With one seed the spread is unknown, so whether magnitude trains faster is not told."
    if not apart:
        return " Magnitude and loss preservation do not differ by more than the spread over seeds."
    faster = magnitude.value.mean > loss.value.mean
    words = "as the founding paper reports" if faster else "against what the founding paper reports"
    names = ("magnitude", "loss preservation") if faster else ("loss preservation", "magnitude")
    return f" So networks cut by {names[0]} train faster than those cut by {names[1]}, {words}."


def caption(records: Convergence) -> str:
    """What is drawn, and how speed is measured."""
    n = sorted({value.n for split in records.splits for curve in split.curves for value in curve.values})
    seeds = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
    band = "band: ± one sample standard deviation" if n[-1] > 1 else "one seed, so no band"
    return (
        f"Lines: mean accuracy over seeds ({seeds}); {band}. Train accuracy is that of the epoch's own batches, while"
        " the weights move. Speed is told by the mean accuracy over the epochs after the last cut, for each run first:"
        " it is higher where accuracy rises sooner, and where it ends higher. Only the largest number of rounds and"
        " the measures of this comparison are shown."
    )
