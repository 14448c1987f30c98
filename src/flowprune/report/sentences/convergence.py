"""What convergence after the last cut shows."""

from __future__ import annotations

from flowprune.report.sentences.paired import HOW, told
from flowprune.report.shapes.convergence import Convergence, Split
from flowprune.report.wording import accuracy, cut_in, joined


def say(records: Convergence) -> str:
    """The mean accuracies over the epochs after the last cut, and whether magnitude is ahead of loss preservation."""
    parts = [part for split in records.splits if (part := _split(split, first=split is records.splits[0]))]
    if not parts:
        return f"Cut in {cut_in(records.rounds)}, no epoch after the last cut is known of all runs."
    return f"Cut in {cut_in(records.rounds)}, {'; '.join(parts)}.{_claim(records)}"


def _split(split: Split, *, first: bool) -> str:
    ranked = sorted((pace for pace in split.paces if not pace.config.dense), key=lambda pace: -pace.value.mean)
    if not ranked:
        return ""
    best, rest = ranked[0], ranked[1:]
    over = f" over the {_epochs(split)}" if first else ""
    words = f"{best.config.name} has the {'highest ' if rest else ''}mean {split.name} accuracy{over}"
    words += f", {accuracy(best.value, count=first)}"
    others = [f"{accuracy(pace.value)} for {pace.config.name}" for pace in rest]
    return words + (f", against {joined(others)}" if others else "") + _dense(split)


def _epochs(split: Split) -> str:
    first, last = split.epochs[0], split.epochs[-1]
    count = len(split.epochs)
    return (
        f"epoch after the last cut ({first})"
        if count == 1
        else f"{count} epochs after the last cut ({first} to {last})"
    )


def _dense(split: Split) -> str:
    found = [pace for pace in split.paces if pace.config.dense]
    return "".join(f" (dense training: {accuracy(pace.value)})" for pace in found[:1])


def _claim(records: Convergence) -> str:
    """Whether magnitude trains faster than loss preservation, at every number of rounds, on train and on test."""
    found = [f"{name} accuracy {told(pairs)}" for name, pairs in records.pairs.items() if pairs]
    return (
        f" Magnitude less loss preservation, over the epochs after the last cut: {'; '.join(found)}." if found else ""
    )


def caption(records: Convergence) -> str:
    """What is drawn, and how speed is measured."""
    n = sorted({value.n for split in records.splits for curve in split.curves for value in curve.values})
    seeds = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
    band = "band: ± one sample standard deviation" if n[-1] > 1 else "one seed, so no band"
    return (
        f"Lines: mean accuracy over seeds ({seeds}); {band}. Train accuracy is that of the epoch's own batches, while"
        " the weights move. Speed is told by the mean accuracy over the epochs after the last cut, for each run first:"
        " it is higher where accuracy rises sooner, and where it ends higher. Drawn: the largest number of rounds."
        f" {HOW}"
    )
