"""A batch: a pair ``(inputs, targets)``, or a mapping with named inputs, as tokenizers give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from torch import Tensor

Forward = Callable[..., Any]
TARGETS = ("targets", "labels")
"""Keys of a mapping that hold targets and are not passed to the model."""


def inputs_of(batch: Any) -> Any:
    """What the model is called with: a tensor, or a dictionary of keyword arguments.

    A mapping without the key ``"inputs"`` is passed by keyword, without its targets.

    Raises:
        ValueError: the batch is neither a pair nor a mapping.

    Example:
        >>> inputs_of((1, 2)), inputs_of({"inputs": 1, "targets": 2}), inputs_of({"ids": 1, "labels": 2})
        (1, 1, {'ids': 1})
    """
    if isinstance(batch, Mapping):
        named = cast("Mapping[str, Any]", batch)
        return named.get("inputs", {key: value for key, value in named.items() if key not in TARGETS})
    return _pair(batch)[0]


def targets_of(batch: Any) -> Any:
    """The targets: second of the pair, or the value of ``"targets"`` or ``"labels"``.

    Raises:
        ValueError: there are none.

    Example:
        >>> targets_of((1, 2)), targets_of({"ids": 1, "labels": 3})
        (2, 3)
    """
    if not isinstance(batch, Mapping):
        return _pair(batch)[1]
    named = cast("Mapping[str, Any]", batch)
    for key in TARGETS:
        if key in named:
            return named[key]
    raise invalid("objective(batch=)", "a mapping with 'targets' or 'labels'", sorted(named))


def outputs(forward: Forward, batch: Any) -> Tensor:
    """The model's output for a batch: its tensor, or the ``logits`` of an output record.

    Example:
        >>> import torch
        >>> outputs(lambda x: x * 2, (torch.ones(1), None))
        tensor([2.])
    """
    inputs = inputs_of(batch)
    named = isinstance(inputs, dict) and not (isinstance(batch, Mapping) and "inputs" in batch)
    result = forward(**inputs) if named else forward(inputs)
    return cast("Tensor", getattr(result, "logits", result))


def _pair(batch: Any) -> Sequence[Any]:
    if not isinstance(batch, (tuple, list)) or len(cast("Sequence[Any]", batch)) != 2:
        rule = "a pair (inputs, targets) or a mapping"
        raise invalid("objective(batch=)", rule, type(batch).__name__, "To use one batch, pass [batch].")
    return cast("Sequence[Any]", batch)
