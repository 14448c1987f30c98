"""Layers by depth: their names in the order of the network, and which of them are early."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

Key = tuple[tuple[int, int, str], ...]


def in_depth(names: Iterable[str]) -> tuple[str, ...]:
    """Each layer once, by the numbers in its name: rows name layers as their groups were found, not from the input on.

    Formula: names are compared part by part; numbers by value, what stands at the top (``stem``, ``stages``) as it
    comes, words further down by letter.

    Example:
        >>> in_depth(["stem.weight", "stages.0.1.conv2", "stages.0.10.conv1", "stages.0.1.conv1", "stem.weight"])
        ('stem.weight', 'stages.0.1.conv1', 'stages.0.1.conv2', 'stages.0.10.conv1')
    """
    found = list(dict.fromkeys(names))
    tops: dict[str, int] = {}
    for name in found:
        tops.setdefault(name.partition(".")[0], len(tops))
    return tuple(sorted(found, key=lambda name: _key(name, tops)))


def _key(name: str, tops: Mapping[str, int]) -> Key:
    top, _, rest = name.partition(".")
    parts = re.findall(r"\d+|[^\d.]+", rest)
    return ((tops[top], 0, ""), *((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts))


def early(names: Iterable[str]) -> frozenset[str]:
    """The first third of the layers, at least one; none where there are fewer than three.

    Example:
        >>> sorted(early(["a.0", "a.1", "a.2", "a.3"])), early(["a"])
        (['a.0'], frozenset())
    """
    found = in_depth(names)
    return frozenset(found[: len(found) // 3])
