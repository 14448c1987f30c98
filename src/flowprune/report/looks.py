"""How each configuration looks: its measure's colour, and another marker where only its settings tell it apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from flowprune.report.shapes.runs import Config
from flowprune.report.theme import MARKERS, Style, styles
from flowprune.report.wording import ordered

Looks = Mapping[Config, Style]


def looks(configs: Iterable[Config]) -> dict[Config, Style]:
    """A style for each configuration; the rounds do not change it.

    Of configurations of one measure in several settings, the first keeps the measure's look; the others have its
    colour, a dashed line and a marker that no measure has.

    Example:
        >>> warm = Config(1, "magnitude", (("prune.temperature", "1.0"),))
        >>> found = looks([Config(1, "magnitude"), Config(5, "magnitude"), warm])
        >>> [found[c].dashed for c in found], found[warm].marker
        ([False, False, True], '>')
    """
    found = list(dict.fromkeys(configs))
    plain = styles(config.measure for config in found)
    spare = [marker for marker in reversed(MARKERS) if marker not in {style.marker for style in plain.values()}]
    kinds: dict[tuple[str, tuple[tuple[str, str], ...]], Style] = {}
    taken = 0
    for measure in ordered(plain):
        for index, setting in enumerate(sorted({c.setting for c in found if c.measure == measure})):
            kinds[measure, setting] = plain[measure]
            if index:
                marker = spare[taken % len(spare)] if spare else plain[measure].marker
                kinds[measure, setting] = replace(plain[measure], marker=marker, dashed=True)
                taken += 1
    return {config: kinds[config.measure, config.setting] for config in found}
