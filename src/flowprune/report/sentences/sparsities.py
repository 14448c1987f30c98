"""What accuracy at each sparsity shows: which networks train, and up to which sparsity."""

from __future__ import annotations

from flowprune.report.shapes.sparsities import Method, Network, Sparsities
from flowprune.report.wording import accuracy, joined, percent

NOWHERE = "at no sparsity"


def say(records: Sparsities) -> str:
    """Network by network: whether it trains dense, and up to which sparsity by which method."""
    least = records.least
    if least is None:
        return _highest(records)
    if all(value.mean < least for value in records.values):
        return f"Nothing comes half-way from chance to 100 %. {_highest(records)}"
    return " ".join(_trains(network, least) for network in records.networks)


def _trains(network: Network, least: float) -> str:
    reached: dict[str, list[str]] = {}
    for method in network.methods:
        reached.setdefault(up_to(method, least), []).append(method.config.name.replace(",", ""))
    found = [f"by {joined(names)} {where}" for where, names in reached.items()]
    start = network.words[:1].upper() + network.words[1:] if network.words else "The network"
    if network.dense is None:
        return f"{start} trains when pruned {'; '.join(found)}."
    trains = "trains" if network.dense.mean >= least else "does not train"
    words = f"{start} {trains} dense ({accuracy(network.dense)})"
    if list(reached) == [NOWHERE]:
        return f"{words} and does not train pruned." if trains == "trains" else f"{words}, nor pruned."
    return f"{words}; pruned it trains {'; '.join(found)}." if found else f"{words}."


def up_to(method: Method, least: float) -> str:
    """Up to which sparsity a method leaves a network that trains.

    Example:
        >>> from flowprune.report.shapes.runs import Config
        >>> from flowprune.report.spread import Spread
        >>> pruned = Method(Config(1, "snip"), (0.5, 0.9), (Spread(0.9, None, 1), Spread(0.6, None, 1)))
        >>> up_to(pruned, 0.55), up_to(pruned, 0.7), up_to(pruned, 0.95)
        ('at every sparsity', 'up to 50 %', 'at no sparsity')
    """
    reached = method.reach(least)
    if reached is None:
        again = [s for s, value in zip(method.sparsities, method.values, strict=True) if value.mean >= least]
        return f"at {joined([sparse(s) for s in again])} alone" if again else NOWHERE
    return "at every sparsity" if reached == method.sparsities[-1] else f"up to {sparse(reached)}"


def sparse(sparsity: float) -> str:
    """A sparsity in percent, as finely as it was asked for.

    Example:
        >>> sparse(0.9), sparse(0.995)
        ('90 %', '99.5 %')
    """
    return percent(sparsity, 0 if round(100 * sparsity, 6).is_integer() else 1)


def _highest(records: Sparsities) -> str:
    last = records.sparsities[-1]
    found = [(network, method) for network in records.networks for method in network.methods if method.at(last)]
    network, method = max(found, key=lambda pair: (pair[1].at(last) or pair[1].values[0]).mean)
    value = method.at(last) or method.values[-1]
    where = f" of {network.words}" if network.words else ""
    return f"At {sparse(last)}, {method.config.name}{where} is highest in the mean: {accuracy(value, count=True)}."


def caption(records: Sparsities) -> str:
    """What is drawn, how, and what training means."""
    counts = sorted({value.n for value in records.values})
    seeds = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    band = "band: ± one sample standard deviation, where there are several seeds" if counts[-1] > 1 else "no band"
    parts = [
        f"Mean test accuracy after the last epoch over seeds ({seeds}); {band}. Dense at the left; the horizontal axis"
        " is a logarithm of the share that is kept, and marks at one sparsity stand a little apart."
    ]
    if records.chance is not None and records.least is not None:
        parts.append(
            f"Dotted: chance, {percent(records.chance, 0)}. A network trains where its mean is at least half-way from"
            f" there to 100 %: {percent(records.least, 0)}."
        )
    measures = {config.measure for config in records.configs}
    if {"snip", "magnitude"} <= measures:
        parts.append("SNIP is sensitivity-based pruning (SBP), magnitude is magnitude-based pruning (MBP).")
    if any(("prune.rescale", "layer") in config.setting for config in records.configs):
        parts.append("Rescaled: the kept weights of each layer are multiplied to the variance that it had dense.")
    return " ".join(parts)
