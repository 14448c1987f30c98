"""Which kept weights lie on a path from the input to the output of a masked network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from flowprune.core.arguments import require_masks, require_model
from flowprune.core.call_at import call_at
from flowprune.core.errors import PruningError, first_line, invalid, unknown
from flowprune.core.names import is_bias
from flowprune.core.tensors import has_float64
from flowprune.core.unfused import unfused
from flowprune.objectives.batch import arguments
from flowprune.signals.as_found import as_found
from flowprune.signals.presence import TINY, Passing
from flowprune.signals.presence.present import flows, require_positive


def effective_weights(model: nn.Module, masks: Mapping[str, Tensor], example_inputs: object) -> dict[str, Tensor]:
    r"""The weights that are kept and lie on a path of kept weights from an input to an output.

    A weight on no path changes no output, whatever its value: its unit reads nothing that depends on the input, or
    nothing reads its unit. It is kept, stored and multiplied for nothing.

    Formula: with masks m in place of the weights, an input of ones, and every operation read as whether anything
    passes, R = Σ outputs, a weight is effective where m·∂R/∂m > 0. All is zero or one, in both directions, and no
    operation subtracts: nothing cancels, over- or underflows, in a network of any depth.

    What an operation passes: activations that are zero at zero pass what arrives, others (a sigmoid, a softmax) let
    through what they multiply even where nothing arrives at them. So values of attention have paths of their own, and
    queries have where keys are, and keys where queries are. A norm passes each channel, times its scale: its statistics
    are no paths. Each position of a max pool counts, and each row of an embedding. A bias begins no path, and nor does
    a constant; a parameter of two or more axes that is looked up or added (positions) begins one.

    Assumes: the size of the example matters: a 3x3 filter on images of one pixel has eight weights that only see
    padding, and are on no path. Biases count as zero where an activation that is zero at zero multiplies.

    Shapes: as the parameters.

    Args:
        model: Any module; it is run once, on one example, in float64, and left as found.
        masks: Boolean, True = kept, by parameter name and of the parameter's shape. Others are wholly kept.
        example_inputs: What the model is called with: a tensor, a tuple of positional arguments, a mapping of named
            ones. Numbers in it become ones; whole numbers stay, and which rows they look up makes no difference.

    Returns:
        By name, for all masked parameters and all others of two or more axes; biases are left out.

    Raises:
        ValueError: no module; a mask of an unknown name, of another shape, or not boolean; no example.
        PruningError: the model does not run on it, has an output that depends on nothing, or an operation that
            takes away from a sum.

    Source: effective sparsity as in Vysogorets & Kempe 2023, arXiv 2107.02306.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> masks = {"0.weight": torch.tensor([[True, False], [False, False]])}
        >>> effective_weights(net, masks, torch.ones(1, 2))["2.weight"]  # nothing arrives at the second unit
        tensor([[ True, False]])
    """
    require_model("effective_weights", model)
    params = {name: param for name, param in model.named_parameters() if param.is_floating_point()}
    _check(params, masks)
    device = next((param.device for param in params.values()), torch.device("cpu"))
    args, kwargs = _one_of_ones(example_inputs, device, whole=_steps_first(model))
    with as_found(model, "eval"), unfused():
        placed = {name: _stand_in(name, param, masks.get(name)) for name, param in params.items()}
        with Passing():
            total = _total(model, placed, args, kwargs)
        asked = {name: value for name, value in placed.items() if value.requires_grad}
        grads = torch.autograd.grad(total, list(asked.values()), materialize_grads=True)
    for name, grad in zip(asked, grads, strict=True):
        require_positive(grad, f"what reads {name!r}")
    return {
        name: ((grad > TINY) & (value.detach() > 0)).to(params[name].device)
        for (name, value), grad in zip(asked.items(), grads, strict=True)
    }


def _check(params: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    require_masks("effective_weights", masks)
    for name, mask in masks.items():
        if name not in params:
            raise unknown("effective_weights(masks=): the model", name, params)
        where = f"effective_weights(masks=): mask of {name!r}"
        if mask.dtype != torch.bool:
            raise invalid(where, "a boolean tensor, True = kept", mask.dtype)
        if mask.shape != params[name].shape:
            todo = "Masks of other units are expanded by flowprune.masks.expand."
            raise invalid(where, f"of shape {tuple(params[name].shape)}", tuple(mask.shape), todo)


def _stand_in(name: str, param: Tensor, mask: Tensor | None) -> Tensor:
    """What takes the place of a parameter: its mask; of a bias nothing."""
    wide = torch.float64 if has_float64(param.device) else torch.float32
    if is_bias(name):
        return torch.zeros(param.shape, dtype=wide, device=param.device)
    kept = torch.ones(param.shape, device=param.device) if mask is None else mask
    value = kept.to(param.device, wide, copy=True)
    return value.requires_grad_(mask is not None or param.dim() > 1)


def _steps_first(model: nn.Module) -> bool:
    """Whether the first axis of an input may count steps in time, and not examples."""
    return any(isinstance(module, nn.RNNBase) and not module.batch_first for module in model.modules())


def _one_of_ones(inputs: Any, device: torch.device, *, whole: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of one example, its numbers ones that paths begin at; ``whole`` leaves the first axis alone."""
    if isinstance(getattr(inputs, "args", None), tuple) and isinstance(getattr(inputs, "kwargs", None), dict):
        given = inputs.args, inputs.kwargs
    else:
        given = arguments(inputs)
    tensors = [item for item in tree_leaves(given) if isinstance(item, Tensor)]
    if not any(item.numel() for item in tensors):
        todo = "Pass what the model is called with."
        raise invalid("effective_weights(example_inputs=)", "tensors, or a collection of some", inputs, todo)
    count = 0 if whole else next((len(item) for item in tensors if item.dim()), 0)
    wide = torch.float64 if has_float64(device) else torch.float32

    def one(item: Any) -> Any:
        if not isinstance(item, Tensor):
            return item
        first = item[:1] if item.dim() and len(item) == count else item
        if not item.is_floating_point():
            return first.detach().clone()
        with torch.inference_mode(False), torch.enable_grad():
            ones = torch.ones(first.shape, dtype=wide, device=first.device)
            return ones.requires_grad_().clone()  # no leaf: a model may write to what it is given

    return tree_map(one, given)


def _total(model: nn.Module, placed: dict[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """R, the sum of all outputs, or of the logits of a record that has some."""
    try:
        result = call_at(model, placed, args, kwargs)
    except PruningError:
        raise
    except Exception as error:
        raise PruningError(
            f"effective_weights(example_inputs=) must be what the model is called with; it raised "
            f"{first_line(error)}. Pass inputs of its shapes, types and device."
        ) from error
    outputs = [item for item in tree_leaves(getattr(result, "logits", result)) if flows(item)]
    if not outputs:
        raise PruningError(
            "effective_weights(model=) must give an output that depends on its parameters; none does. "
            "Call the model itself, not one under torch.no_grad()."
        )
    return torch.stack([item.sum() for item in outputs]).sum()
