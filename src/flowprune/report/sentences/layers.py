"""What the kept shares of layers show."""

from __future__ import annotations

from flowprune.report.sentences.paired import HOW, told
from flowprune.report.shapes.layers import Ends, Layer, Layers
from flowprune.report.shapes.runs import Config
from flowprune.report.spread import Spread
from flowprune.report.wording import cut_in, percent, sparse_percent

INCREASE = "gradient_norm_increase"
BEYOND = "What early layers lose beside the rest, less the most that any other measure takes of them"


def say(records: Layers) -> str:
    """Which measure cut most unevenly and most evenly, what gradient-norm increase left of early layers, and floors."""
    rounds = records.rounds[-1] if records.rounds else 0
    found = {config: own for config, own in records.configs.items() if config.rounds == rounds}
    ranked = sorted(found, key=lambda config: -_range(found[config]))
    words = f"{_uneven(ranked[0], found[ranked[0]])}" if ranked else "No layer was cut"
    if len(ranked) > 1:
        low, high = _ends(found[ranked[-1]])
        words += (
            f"; {ranked[-1].name} cut most evenly ({sparse_percent(low.kept.mean)} to {sparse_percent(high.kept.mean)})"
        )
    return " ".join(part for part in (f"{words}.", _early(records, rounds), _floors(records)) if part)


def _ends(own: tuple[Layer, ...]) -> tuple[Layer, Layer]:
    ranked = sorted(own, key=lambda layer: layer.kept.mean)
    return ranked[0], ranked[-1]


def _range(own: tuple[Layer, ...]) -> float:
    low, high = _ends(own)
    return high.kept.mean - low.kept.mean


def _uneven(config: Config, own: tuple[Layer, ...]) -> str:
    low, high = _ends(own)
    return (
        f"In {cut_in(config.rounds)}, {config.name} cut most unevenly, leaving"
        f" {sparse_percent(low.kept.mean)} of {low.name.removesuffix('.weight')}"
        f" and {sparse_percent(high.kept.mean)} of {high.name.removesuffix('.weight')}"
    )


def _early(records: Layers, rounds: int) -> str:
    """What gradient-norm increase left of the first third of the layers, beside what the other measures left of it."""
    found = {config: ends for config, ends in records.ends.items() if config.rounds == rounds}
    others = [ends.early.mean for config, ends in found.items() if config.measure != INCREASE]
    parts = [_kept(config, ends) for config, ends in found.items() if config.measure == INCREASE]
    if not parts:
        return ""
    words = " ".join(f"{part}." for part in parts)
    if not others:
        return words
    low, high = percent(min(others), 0), percent(max(others), 0)
    words += f" The other measures keep {low if low == high else f'{low} to {high}'} of the first third."
    beyond = [f"{name} {told(pairs)}" for name, pairs in records.pairs.items()]
    return f"{words} {BEYOND}: {'; '.join(beyond)}." if beyond else words


def _kept(config: Config, ends: Ends) -> str:
    name = f"{config.name[0].upper()}{config.name[1:]}"
    return f"{name} keeps {_share(ends.early)} of the first third of the layers and {_share(ends.rest)} of the rest"


def _share(value: Spread) -> str:
    return f"{100 * value.mean:.0f}" + (" %" if value.std is None else f" ± {100 * value.std:.0f} %")


def _floors(records: Layers) -> str:
    hits = sum(layer.floor_hits for own in records.configs.values() for layer in own)
    total = sum(len(layer.shares) for own in records.configs.values() for layer in own)
    if not hits:
        return "No layer reached its floor."
    return f"The floor held units back in {hits} of {total} pruned layers (layers × runs)."


def caption(records: Layers) -> str:
    """What is drawn."""
    n = max(len(layer.shares) for own in records.configs.values() for layer in own)
    strokes = "one seed" if n == 1 else f"short strokes: the {n} seeds"
    return (
        "Units left after the last cut, of those the layer had; layers in the order of the network, input at the top."
        " Shaded: the first third of the layers; the shares kept of it and of the rest are means over layers."
        " Dashed: the share left of all layers together."
        f" {HOW} Marks: mean over seeds; {strokes}. Ringed: the least number"
        f" of units a layer may keep was reached in at least one run.{_paths(records)}"
    )


def _paths(records: Layers) -> str:
    """How to read what is drawn of paths, where it is known."""
    if not records.paths:
        return ""
    most = ", in the largest number of rounds" if len(records.rounds) > 1 else ""
    dead = f" Dead: outputs of the layer that no weight on a path makes, mean over seeds{most}." if records.dead else ""
    return f" Crosses: the share on a path from input to output, where that is less than is kept.{dead}"
