"""Physical removal: a smaller model that computes what the masked one computes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from flowprune.core.arguments import require_masks, require_model
from flowprune.core.errors import PruningError, invalid
from flowprune.core.groups import channels_of
from flowprune.core.units import Layout
from flowprune.structure.cut import cut_, own_
from flowprune.structure.decision import Slices, decide, same_model
from flowprune.structure.example import Example
from flowprune.structure.history import Moment, Zeroing, record_
from flowprune.structure.masked import zero_
from flowprune.structure.memory import recall
from flowprune.structure.reading import require_alone
from flowprune.structure.records import Trace
from flowprune.structure.rehearsal import verify as compared
from flowprune.structure.slicing import check_masks
from flowprune.structure.trace import TIME_LIMIT, trace
from flowprune.structure.twin import sharing
from flowprune.structure.verify import Unmasked


def remove(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    *,
    example_inputs: object = None,
    verify: bool = True,
    time_limit: float = TIME_LIMIT,
) -> nn.Module:
    """A smaller copy of a model without its masked channels: same class, same module names; the model is untouched.

    Masks of :class:`~flowprune.structure.depth.Depth` take whole blocks out, and the later ones of their containers
    move up.

    The copy computes what the masked model computes, up to rounding, in evaluation and in training mode; by default
    that is tried on the example inputs before anything is returned. What the engine cannot prove stays whole, see
    :func:`flowprune.structure.trace`.

    Args:
        model: Any module that ``torch.export`` captures without strict mode.
        masks: From ``select`` with channel granularity: units go as a whole. Or a plain dictionary of boolean
            vectors by weight name: such a mask names one weight, whose channel is removed where nothing else feeds
            it (residual streams), and becomes zero in the smaller model, with its own bias and norm, where
            something does. Training moves such zeros, unless ``fp.Pruner`` cuts, or ``fp.apply`` holds them.
        example_inputs: What the model is called with. May be left out after
            ``Channels(example_inputs=...)`` has traced this very model: the two examples kept from then serve.
        verify: Whether to compare the two models on the example inputs, in double precision; see
            :func:`~flowprune.structure.rehearsal.rehearse`.
        time_limit: Seconds that a trace may take.

    Raises:
        ValueError: masks of another model, of wrong length, or of single weights; no example inputs, and no trace of
            the model as it is now.
        PruningError: a layer would be emptied, the model cannot be captured, or the two models differ.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> small = remove(model, {"0.weight": torch.tensor([True, False, True])}, example_inputs=torch.ones(1, 2))
        >>> small[0].weight.shape, small[2].weight.shape, model[0].weight.shape
        (torch.Size([2, 2]), torch.Size([1, 2]), torch.Size([3, 2]))
    """
    require_model("remove", model)
    require_masks("remove", masks)
    layout = channels_of("remove(masks=)", getattr(masks, "layout", None) or {})
    if any(name in layout and layout[name].kind == "depth" for name in masks):
        return _without_blocks(model, layout, masks, example_inputs, verify=verify)
    found, inputs = _found(model, example_inputs, time_limit)
    decision = decide(model, found, masks)
    check_masks(found.groups, decision.units)
    small = sharing(model, "remove")
    if decision.zeroed:
        before = Moment.of(small)
        own_(small, model)
        _zero(small, decision.zeroed)
        record_(small, before, Zeroing(tuple(decision.zeroed)))
    whole = sharing(small, "remove")
    cut_(small, found, decision.units)
    if verify:
        compared(whole, small, found.groups, decision.units, Example.of(inputs), original=Unmasked.of(model, masks))
    own_(small, model)
    if verify:
        require_alone(small, model, Example.of(inputs))
    return small


def _without_blocks(
    model: nn.Module, layout: Layout, masks: Mapping[str, Tensor], example_inputs: object, *, verify: bool
) -> nn.Module:
    """The same for units that are modules: the layout says all, so that nothing is traced."""
    same_model(dict(model.named_parameters()), masks)
    known = recall(model, kind="depth")
    inputs = known.example if example_inputs is None and known is not None else example_inputs
    if verify and inputs is None:
        rule = "what the model is called with, unless Depth(...) has just tried this model"
        raise invalid("remove(example_inputs=)", rule, None, "Pass two examples of the model's input.")
    small = sharing(model, "remove")
    cut_(small, layout, masks)
    if verify:
        compared(model, small, layout, masks, Example.of(inputs))
    own_(small, model)
    if verify:
        require_alone(small, model, Example.of(inputs))
    return small


def _found(model: nn.Module, example_inputs: object, time_limit: float) -> tuple[Trace, object]:
    """The trace, and inputs to verify the removal with."""
    if example_inputs is not None:
        return trace(model, example_inputs, time_limit=time_limit), example_inputs
    known = recall(model)
    if known is None:
        rule = "what the model is called with, unless Channels(...) has just traced this model"
        raise invalid("remove(example_inputs=)", rule, None, "Pass two examples of the model's input.")
    return known.trace, known.example


def _zero(model: nn.Module, slices: Slices) -> None:
    params = dict(model.named_parameters())
    for name, axis, positions in slices:
        if name not in params:
            raise PruningError(f"remove(masks=) must name parameters; {name!r} is a buffer and cannot be masked.")
        zero_(params[name], axis, positions)
