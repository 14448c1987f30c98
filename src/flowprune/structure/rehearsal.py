"""The cut, tried on copies before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from flowprune.core.arguments import require_model
from flowprune.core.units import Layout
from flowprune.structure.cut import cut_
from flowprune.structure.example import Example
from flowprune.structure.masked import mask_
from flowprune.structure.reading import require_reachable
from flowprune.structure.records import Trace
from flowprune.structure.slicing import check_masks
from flowprune.structure.twin import sharing
from flowprune.structure.verify import Unmasked, compare


def rehearse(
    model: nn.Module, layout: Layout | Trace, masks: Mapping[str, Tensor], example_inputs: object
) -> tuple[str, ...]:
    """Cut a copy, and compare it with a masked copy, on at most two examples; the modes in which they were compared.

    In evaluation and in training mode, in double precision where the model allows it and is not large. Neither the
    model nor the random state is touched. A mode in which the model itself is random, so that two runs of it differ,
    is not compared and not in the result, which may be empty; ``"train"`` is missing too where that mode cannot run on
    the examples (batch norm of one value).

    Args:
        model: Is copied, hooks included: they may be part of what it computes.
        layout: As for :func:`~flowprune.structure.cut.cut_`.
        masks: Boolean ``(group.size,)`` by group name, True = kept.
        example_inputs: A tensor, a tuple or list of positional arguments, or a mapping of named ones.

    Raises:
        ValueError: masks that do not fit the layout, or inputs without a tensor.
        PruningError: the smaller copy differs or does not run, or a mask empties its group.

    Example:
        >>> import torch
        >>> from flowprune.structure.trace import trace
        >>> model, x = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.ones(2, 2)
        >>> rehearse(model, trace(model, x), {"0.weight": torch.tensor([True, False, True])}, x)
        ('eval', 'train')
    """
    require_model("rehearse", model)
    example, groups = Example.of(example_inputs), layout.groups if isinstance(layout, Trace) else layout
    check_masks(groups, masks)
    small = sharing(model, "rehearse")
    plan = cut_(small, groups, masks)
    require_reachable(small, {id(p): name for name, p in model.named_parameters() if p in plan.replaced})
    return verify(model, small, groups, masks, example)


def verify(
    model: nn.Module,
    small: nn.Module,
    layout: Layout,
    masks: Mapping[str, Tensor],
    example: Example,
    *,
    original: Unmasked | None = None,
) -> tuple[str, ...]:
    """Compare a cut copy of a model with a masked one; the modes in which they were compared.

    Args:
        model: Is not changed, nor is ``small``.
        small: Cut already.
        layout: Of the model.
        masks: What was cut.
        example: What both are called with.
        original: The model before anything in it was set to zero, where that is another.

    Raises:
        PruningError: they differ, one of them does not run, or the masked model gives NaN where the original gives
            numbers.
    """
    masked = sharing(model, "rehearse")
    mask_(masked, layout, masks)
    unmasked = Unmasked.of(model, masks) if original is None else original
    return compare(masked, sharing(small, "rehearse"), example, unmasked=unmasked)
