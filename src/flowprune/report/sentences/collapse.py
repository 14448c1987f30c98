"""What the diagnosis of layer collapse shows."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.report.shapes.collapse import Collapse, Network, Thinnest, thinnest
from flowprune.report.shapes.runs import Config
from flowprune.report.shapes.warned import Warned
from flowprune.report.spread import Spread, spread
from flowprune.report.wording import compact, figures, joined, sparse_percent

SOME = 0.005
"""From this mean share of the kept weights on, idle ones are told of."""
NAMED = 4
"""Configurations in a warning at most."""


def say(records: Collapse) -> str:
    """Which configuration leaves a layer how little, and how many kept weights do nothing; empty without either."""
    return " ".join(part for part in (_thin(records), _idle(records)) if part)


def _thin(records: Collapse) -> str:
    found = {config: thin for config, own in records.configs.items() if (thin := thinnest(own)) is not None}
    if not found:
        return ""
    ranked = sorted(found, key=lambda config: _density(found[config]))
    least, most = ranked[0], ranked[-1]
    words = _least(least, found[least], records.configs[least][0].unit)
    if len(ranked) > 1 and _density(found[most]) > _density(found[least]):
        left = sparse_percent(_density(found[most]))
        words += f"; under {most}, the most even, the thinnest layer is left with {left}"
    return f"{words}."


def _density(thin: Thinnest) -> float:
    return thin.alive.mean / thin.total


def _least(config: Config, thin: Thinnest, unit: str) -> str:
    name = thin.name.removesuffix(".weight")
    start = str(config)[0].upper() + str(config)[1:]
    where = " in one seed" if thin.varies else ""
    if not thin.kept.mean:
        return f"{start} leaves nothing of {name}{where}"
    if not thin.alive.mean:
        return (
            f"{start} leaves {name}{where} no weight on a path from input to output: its {counted(thin.kept)} are idle"
        )
    path = " on a path from input to output" if thin.alive != thin.kept else ""
    return (
        f"{start} leaves {name} the least{where}: {counted(thin.alive)} of {compact(thin.total)} {unit}{path}"
        f" ({sparse_percent(_density(thin))})"
    )


def counted(value: Spread) -> str:
    """A mean count, with its spread where there is one.

    Example:
        >>> counted(Spread(12.0, None, 1)), counted(Spread(12.5, 0.5, 3)), counted(Spread(1212.5, 130.4, 3))
        ('12', '12.5 ± 0.5', '1.21 k ± 130')
    """
    deviation = f" ± {count_words(value.std)}" if value.std else ""
    return count_words(value.mean) + deviation


def count_words(value: float) -> str:
    """A number of things, or a mean of several such numbers.

    Example:
        >>> count_words(3.0), count_words(3.333), count_words(333.3), count_words(4608.0)
        ('3', '3.3', '333', '4.61 k')
    """
    if value == int(value) or value >= 1000:
        return compact(value)
    return f"{value:.{int(value < 100)}f}"


def _idle(records: Collapse) -> str:
    shares = {config: found for config, own in records.configs.items() if (found := idle(own)) is not None}
    if not shares:
        return ""
    ranked = sorted(shares, key=lambda config: -shares[config].mean)
    most, least = shares[ranked[0]], shares[ranked[-1]]
    if not most.mean:
        return "Every kept weight is on a path from input to output."
    if most.mean < SOME:
        return "Nearly every kept weight is on a path from input to output."
    words = f"Of the weights that {ranked[0]} keeps, {_share(most)} do nothing: they are on no path"
    return f"{words}{f'; of those of {ranked[-1]}, {_share(least)}' if len(ranked) > 1 else ''}."


def idle(networks: Sequence[Network]) -> Spread | None:
    """The share of the kept weights that is on no path, over seeds; None where it is not known."""
    shares = [each.idle for each in networks if each.idle is not None]
    return spread(shares) if shares else None


def _share(value: Spread) -> str:
    if not value.mean:
        return "none"
    spread_of = f" ± {figures(100 * value.std, 2)}" if value.std else ""
    return f"{figures(100 * value.mean, 2)}{spread_of} %"


def warning(each: Warned, records: Collapse) -> str:
    """A warning after the runs that it concerns.

    Example:
        >>> one = Config(1, "random")
        >>> told = (0, "weights", False, 0.9, None, 10.0, None, "", None, (), ())
        >>> runs = tuple(Network(f"r{seed}", seed, *told) for seed in "01")
        >>> warning(Warned("a kept nothing.", {one: ("0", "1")}, True), Collapse({one: runs}, (), ()))
        'Random (1 round), both seeds: a kept nothing.'
    """
    named = [_runs(config, seeds, len(records.configs[config])) for config, seeds in each.seeds.items()]
    more = len(named) - NAMED
    who = "; ".join(named[:NAMED]) + (f"; and {more} more" if more > 0 else "")
    first = next(iter(each.seeds))
    which = "" if each.alike else f" (Said of {first}, seed {each.seeds[first][0]}; in others the layers differ.)"
    return f"{who[0].upper()}{who[1:]}: {each.words}{which}"


def _runs(config: Config, seeds: Sequence[str], total: int) -> str:
    if total == 1:
        return str(config)
    if len(seeds) == total:
        return f"{config}, {'both' if total == 2 else f'all {total}'} seeds"
    return f"{config}, seed{'' if len(seeds) == 1 else 's'} {joined(list(seeds))}"


def note(records: Sequence[Collapse], columns: Sequence[str]) -> str:
    """How to read the columns of the table."""
    networks = [each for found in records for own in found.configs.values() for each in own]
    units = joined(sorted({each.unit for each in networks}))
    parts = {
        "effective sparsity, %": "Effective: removed, or on no path from input to output.",
        "compression, times": "Compression: all, by those kept.",
        "thinnest layer": "Thinnest: the layer of which the least is on a path, or kept where paths are not known.",
        "dead units": "Dead units: outputs of layers that no weight on a path makes, of all.",
        "largest safe sparsity, %": (
            "Largest safe: the largest sparsity of the scored units at which this model and measure empty no layer."
        ),
        "conservation residual": (
            "Conservation: how far a layer's total of θ·g is from the median one at most, by the largest total."
        ),
    }
    told = " ".join(words for name, words in parts.items() if name in columns)
    return (
        "Mean ± sample standard deviation over n seeds; without ±, they are alike to the last digit."
        f" Counted after the last cut{_epochs(networks)}. Sparsity: of the {units} of the masked layers. {told}"
    ).strip()


def _epochs(networks: Sequence[Network]) -> str:
    low, high = (end(each.epoch for each in networks) for end in (min, max))
    if not high:
        return ", before any training"
    return (
        f" (epoch {low}), before training goes on"
        if low == high
        else f" (epochs {low} to {high}), before training goes on"
    )
