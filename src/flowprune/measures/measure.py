"""What a measure is: a signed formula per weight, and how it is reduced over a unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from flowprune.core.source import Source

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Measure:
    """An importance measure; larger scores are kept.

    Attributes:
        name: The name in ``MEASURES``.
        order: Order of the derivative of ‖θ‖² in time it belongs to (0, 1, 2), or None outside the frame.
        needs: What :func:`~flowprune.signals.gather` must supply.
        reduce: The default reducer over a unit (:mod:`flowprune.masks.reduce`).
        formula: The score of a unit f, as one reads it.
        contributions: Signals to signed numbers per weight: a dictionary of tensors shaped like the parameters.
        source: Where it was published.
        on: What of a unit is read: its producing weights, its norm's scale and shift, or nothing but that it is
            a unit (the contributions are then called with one number per unit in place of the parameters).
        published_as: What the founding paper's code calls it, if anything.
        temperature: What that code divides the logits by while it scores with it; None for what it trains with.
        objective: The name in ``OBJECTIVES`` of what its derivatives must be of; None for any.
        options_at: Of the sparsity that is asked for, options that it needs; what is given besides goes before.
        revives: Whether units that a round cut may come back in the next, scored by the values they had.

    Example:
        >>> from flowprune.measures import MEASURES
        >>> MEASURES["loss_preservation"].order, MEASURES["loss_preservation"].needs
        (1, ('gradient',))
    """

    name: str
    order: int | None
    needs: tuple[str, ...]
    reduce: Literal["sum", "sum_abs", "abs_sum", "l2"]
    formula: str
    contributions: Callable[..., Mapping[str, Tensor]]
    source: Source
    on: Literal["weight", "norm", "unit"] = "weight"
    published_as: str | None = None
    temperature: float | None = None
    objective: str | None = None
    options_at: Callable[[float], Mapping[str, Any]] | None = None
    revives: bool = False


FRAMEWORK = Source("Lubana & Dick", 2021, "A Gradient Flow Framework For Analyzing Network Pruning", arxiv="2009.11839")
