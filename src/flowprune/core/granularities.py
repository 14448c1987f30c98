"""Granularities by name: what a unit can be, in the words of specs, the command line and reports.

A granularity with sizes is named with them: ``nm:2:4``, ``blocks:4x1``. Reading a name imports nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Final

from flowprune.core.errors import invalid, unknown
from flowprune.core.index import Index

GRANULARITIES: Final[Index[Callable[..., Any]]] = Index(
    "GRANULARITIES",
    {
        "channels": "flowprune.structure.channels:Channels",
        "heads": "flowprune.structure.heads:Heads",
        "depth": "flowprune.structure.depth:Depth",
        "weights": "flowprune.masks.weights:Weights",
        "nm": "flowprune.masks.n_m:NM",
        "blocks": "flowprune.masks.blocks:Blocks",
    },
)
"""Each makes a granularity: of its sizes, if it has any, and of what else it takes by name."""

SIZES: Final[Mapping[str, tuple[str, ...]]] = {"nm": ("n", "m"), "blocks": ("rows", "cols")}
"""The sizes that a name is written with, in order."""
NOUNS: Final[Mapping[str, str]] = {"nm": "weights", "depth": "residual blocks"}
"""What the units are called in a sentence, where that is not the name."""
WRITTEN: Final[Mapping[str, str]] = {
    "weights": "fp.Weights()",
    "nm": "fp.NM(2, 4)",
    "blocks": "fp.Blocks(4, 1)",
    "channels": "fp.Channels(example_inputs=x)",
    "heads": "fp.Heads(example_inputs=x)",
    "depth": "fp.Depth(example_inputs=x)",
}
"""Each granularity by its name, as Python has it."""


def build_granularity(where: str, text: str, available: Mapping[str, object] | None = None) -> Any:
    """The granularity of a name, such as ``"weights"`` or ``"nm:2:4"``.

    Args:
        where: What an error names.
        text: A name of :data:`GRANULARITIES`, followed by its sizes, each after ``:`` or ``x``.
        available: Other arguments by name, such as ``example_inputs``; each is passed on if the granularity takes it.

    Raises:
        UnknownNameError: no such name.
        ValueError: too many or too few sizes, or sizes that make no sense.

    Example:
        >>> build_granularity("--granularity", "blocks:4x1").cols
        1
    """
    kind, sizes = require_granularity(where, text)
    made = GRANULARITIES[kind]
    taken = signature(made).parameters
    return made(*sizes, **{name: value for name, value in (available or {}).items() if name in taken})


def require_granularity(where: str, text: str) -> tuple[str, tuple[int, ...]]:
    """The name and the sizes in a text; nothing is imported for it.

    Raises:
        UnknownNameError: no such name.
        ValueError: too many or too few sizes.

    Example:
        >>> require_granularity("Spec(prune.granularity)", "nm:2:4")
        ('nm', (2, 4))
    """
    kind, _, rest = text.partition(":")
    if kind not in GRANULARITIES:
        raise unknown(where, kind, GRANULARITIES)
    needed, sizes = SIZES.get(kind, ()), re.split("[:x]", rest) if rest else []
    if len(sizes) != len(needed) or not all(size.isdecimal() for size in sizes):
        todo = "Sizes are whole numbers, as in nm:2:4." if needed else "It has no sizes."
        raise invalid(where, f"written as {':'.join([kind, *needed])}", text, todo)
    return kind, tuple(map(int, sizes))


def units_in_words(text: str) -> str:
    """The name of a granularity as a sentence has it.

    Example:
        >>> units_in_words("channels"), units_in_words("nm:2:4"), units_in_words("blocks:4x1")
        ('channels', '2:4 weights', '4x1 blocks')
    """
    kind, _, sizes = text.partition(":")
    noun = NOUNS.get(kind, kind)
    return f"{sizes} {noun}" if sizes else noun
