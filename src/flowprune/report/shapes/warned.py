"""Warnings of many runs, each once: runs that differ in their seed are warned of the same thing in other numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowprune.report.shapes.runs import Config

NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
LISTED = re.compile(r"@(?: \(# of #\))?(?:(?:, | and )(?:@(?: \(# of #\))?|# more))*")
"""Layers in a sentence, each with or without its counts, once names are @ and numbers are #."""


@dataclass(frozen=True)
class Warned:
    """One warning.

    Attributes:
        words: Of the first run; where others tell other numbers of the same layers, from the least to the largest.
        seeds: Of the runs that were given it, by configuration.
        alike: Whether all of them were given it of the same layers.
    """

    words: str
    seeds: Mapping[Config, tuple[str, ...]]
    alike: bool


def warned(given: Iterable[tuple[Config, str, Sequence[str]]], layers: Iterable[str]) -> tuple[Warned, ...]:
    """Each warning once, in the order of first appearance; ``given``: configuration, seed and warnings of each run.

    Two warnings are the same where they differ in numbers and in names of ``layers`` alone.

    Example:
        >>> one = Config(1, "random")
        >>> (found,) = warned([(one, "0", ["2 % are kept of a.1."]), (one, "1", ["3 % are kept of a.1."])], ["a.1"])
        >>> found.words, found.seeds[one], found.alike
        ('2 to 3 % are kept of a.1.', ('0', '1'), True)
    """
    names = sorted({name for name in layers if name}, key=lambda name: (-len(name), name))
    known = re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, names))})(?!\w)") if names else None
    found: dict[str, list[tuple[Config, str, str]]] = {}
    for config, seed, warnings in given:
        for words in warnings:
            found.setdefault(_gist(words, known), []).append((config, seed, words))
    return tuple(_one(own, known) for own in found.values())


def _gist(words: str, names: re.Pattern[str] | None) -> str:
    bare = names.sub("@", words) if names else words
    return LISTED.sub("@", NUMBER.sub("#", bare))


def _one(own: Sequence[tuple[Config, str, str]], names: re.Pattern[str] | None) -> Warned:
    seeds: dict[Config, tuple[str, ...]] = {}
    for config, seed, _ in own:
        seeds[config] = tuple(dict.fromkeys((*seeds.get(config, ()), seed)))
    said = list(dict.fromkeys(words for _, _, words in own))
    alike = len({tuple(names.findall(words)) if names else () for words in said}) == 1
    return Warned(_spanning(said) if alike else said[0], seeds, alike)


def _spanning(said: Sequence[str]) -> str:
    """The same words about the same layers, each number that differs as a span."""
    parts = NUMBER.split(said[0])
    columns = zip(*(NUMBER.findall(words) for words in said), strict=True)
    spans = [_span(found) for found in columns]
    return "".join(part + span for part, span in zip(parts, (*spans, ""), strict=True))


def _span(found: Sequence[str]) -> str:
    ranked = sorted(set(found), key=lambda each: float(each.replace(",", "")))
    return ranked[0] if len(ranked) == 1 else f"{ranked[0]} to {ranked[-1]}"
