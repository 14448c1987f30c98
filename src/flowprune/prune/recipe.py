"""A published method as one record: which measure, of what, in how many rounds, and where it departs from its paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flowprune.core.source import Source

Data = Literal["labels", "inputs", "none"]
"""What a method takes of the batches: examples with targets, the shape of an input alone, or nothing."""


@dataclass(frozen=True)
class Recipe:
    """How a paper prunes, in the words of :func:`flowprune.prune`; ``fp.prune(model, recipe=name, sparsity=...)``.

    A recipe has no code: everything it says is an argument that can be given without it, and what is given beside it
    takes its place.

    Attributes:
        name: In ``RECIPES``.
        measure: A name in ``MEASURES``.
        source: The paper.
        data: What it takes of the batches.
        objective: Makes what is differentiated; None where nothing is.
        rounds: How many cuts.
        schedule: A name of ``SCHEDULES``, for several rounds.
        rule: Keywords of :class:`~flowprune.prune.rule.Rule`, such as ``mode``.
        densities: A name of ``DENSITIES``: how much of each layer goes, in place of one ranking of all.
        rescale: Whether kept weights are multiplied to the variance of dense ones, per ``"layer"`` or ``"unit"``.
        stable: Whether it asks for a network whose residual branches are scaled by L^(-1/2).
        deviations: Where it departs from the paper or its code, each in a sentence.

    Example:
        >>> import flowprune as fp
        >>> fp.RECIPES["synflow"].rounds, fp.RECIPES["synflow"].data
        (100, 'inputs')
    """

    name: str
    measure: str
    source: Source
    data: Data
    objective: Callable[[], Any] | None = None
    rounds: int = 1
    schedule: str = "exponential"
    rule: Mapping[str, Any] = field(default_factory=dict[str, Any])
    densities: str | None = None
    rescale: Literal["layer", "unit"] | None = None
    stable: bool = False
    deviations: tuple[str, ...] = ()
