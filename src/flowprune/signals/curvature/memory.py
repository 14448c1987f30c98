"""How many examples fit into the memory that a curvature may take."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from flowprune.core.errors import invalid
from flowprune.signals.curvature.asked import Curvature, in_words
from flowprune.signals.footprint import bytes_of
from flowprune.signals.parts import on_cpu
from flowprune.signals.per_example.convolved import UNFOLDED_BYTES
from flowprune.signals.per_example.outer import GROUP_BYTES

CHEAPER = {"ggn": ("fisher_mc", "hutchinson", "empirical"), "fisher_mc": ("empirical",), "hutchinson": ("empirical",)}


def examples_within(asked: Curvature, each: int, fixed: int, *, most: int, what: str) -> int:
    """How many examples fit at a time.

    Args:
        asked: With the memory given.
        each: Bytes for each example.
        fixed: Bytes however many there are.
        most: Not more than these.
        what: What takes it, for the error.

    Raises:
        ValueError: not even one does; the memory that it would take, and what is cheaper.

    Example:
        >>> examples_within(Curvature(memory=1000), 300, 100, most=64, what="10 outputs")
        3
    """
    fit = (asked.bytes - fixed) // max(each, 1)
    if fit < 1:
        others = [f"{kind!r}" for kind in CHEAPER.get(asked.kind, ())]
        cheaper = f", or ask for a cheaper estimator: curvature={' or '.join(others)}" if others else ""
        rule = f"at least {in_words(each + fixed)}, which one example takes with {what}"
        todo = f"Pass fp.Curvature({asked.kind!r}, memory=...){cheaper}."
        raise invalid(f"gather(curvature={asked.kind!r}) memory", rule, in_words(asked.bytes), todo)
    return min(int(fit), most)


def working_space(params: Mapping[str, nn.Parameter]) -> int:
    """Bytes that the squares of one layer take, beside the sums: patches of inputs, and twice the largest weight."""
    largest = max(map(bytes_of, params.values()))
    return UNFOLDED_BYTES + 2 * largest + (0 if on_cpu(params) else 2 * GROUP_BYTES)
