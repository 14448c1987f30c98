"""What the kept shares of layers show."""

from __future__ import annotations

from flowprune.report.shapes.layers import Layer, Layers
from flowprune.report.shapes.runs import Config
from flowprune.report.wording import cut_in, percent


def say(records: Layers) -> str:
    """Which measure cut most unevenly and which most evenly, and how often the floor held."""
    rounds = records.rounds[-1] if records.rounds else 0
    found = {config: own for config, own in records.configs.items() if config.rounds == rounds}
    ranked = sorted(found, key=lambda config: -_range(found[config]))
    words = f"{_uneven(ranked[0], found[ranked[0]])}" if ranked else "No layer was cut"
    if len(ranked) > 1:
        low, high = _ends(found[ranked[-1]])
        words += f"; {ranked[-1].name} cut most evenly ({percent(low.kept.mean, 0)} to {percent(high.kept.mean, 0)})"
    return f"{words}. {_floors(records)}"


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
        f" {percent(low.kept.mean, 0)} of {low.name.removesuffix('.weight')}"
        f" and {percent(high.kept.mean, 0)} of {high.name.removesuffix('.weight')}"
    )


def _floors(records: Layers) -> str:
    hits = sum(layer.floor_hits for own in records.configs.values() for layer in own)
    total = sum(len(layer.shares) for own in records.configs.values() for layer in own)
    if not hits:
        return "No layer reached its floor."
    return f"The floor held units back in {hits} of {total} pruned layers (layers × runs)."


def caption(records: Layers) -> str:
    """What is drawn."""
    n = max(len(layer.shares) for own in records.configs.values() for layer in own)
    return (
        "Units left after the last cut, of those the layer had; layers in the order of the network, input at the top."
        " Dashed: the share left of all layers together."
        f" Marks: mean over seeds; short strokes: the {n} seed{'' if n == 1 else 's'}. “floor”: the least number of"
        " units a layer may keep was reached in at least one run."
    )
