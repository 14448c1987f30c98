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


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of the model, by the one rule that holds wherever inputs are passed to a model.

    A tuple or list holds the positional arguments, a mapping names them, and anything else is the one argument.

    Example:
        >>> arguments((1, 2)), arguments({"ids": 1}), arguments(3)
        (((1, 2), {}), ((), {'ids': 1}), ((3,), {}))
    """
    if isinstance(inputs, (tuple, list)):
        return tuple(cast("Sequence[Any]", inputs)), {}
    if isinstance(inputs, Mapping):
        return (), {str(name): value for name, value in cast("Mapping[Any, Any]", inputs).items()}
    return (inputs,), {}


def inputs_of(batch: Any) -> Any:
    """What the model is called with, as :func:`arguments` reads it.

    Of a mapping these are its ``"inputs"``, or, without that key, everything but its targets, by keyword.

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

    Inputs that are a tuple or a list are unpacked: ``((a, b), targets)`` calls a model of two inputs.

    Example:
        >>> import torch
        >>> outputs(lambda x: x * 2, (torch.ones(1), None)), outputs(lambda a, b: a - b, ((3, 1), None))
        (tensor([2.]), 2)
    """
    args, kwargs = arguments(inputs_of(batch))
    result = forward(*args, **kwargs)
    return cast("Tensor", getattr(result, "logits", result))


def mapped(batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The batch with a function applied to each of its tensors; containers become plain ones.

    Example:
        >>> import torch
        >>> mapped((torch.ones(1), {"a": torch.ones(1)}), lambda tensor: tensor * 2)
        (tensor([2.]), {'a': tensor([2.])})
    """
    import torch

    if isinstance(batch, torch.Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: mapped(value, function) for key, value in cast("Mapping[str, Any]", batch).items()}
    if isinstance(batch, (tuple, list)):
        return tuple(mapped(value, function) for value in cast("tuple[Any, ...]", batch))
    return batch


def size_of(batch: Any, *, where: str = "gather") -> int:
    """The length of the first tensor: the number of examples.

    Raises:
        ValueError: no tensor with a first axis, or an empty one.

    Example:
        >>> import torch
        >>> size_of({"ids": torch.zeros(3, 7)})
        3
    """
    sizes: list[int] = []
    mapped(batch, lambda tensor: _noted(sizes, tensor))
    if not sizes or sizes[0] == 0:
        rule = "an iterable of batches with at least one example each"
        raise invalid(f"{where}(batches=)", rule, type(batch).__name__)
    return sizes[0]


def _noted(sizes: list[int], tensor: Tensor) -> Tensor:
    if tensor.ndim:
        sizes.append(len(tensor))
    return tensor


def some(batch: Any, start: int, stop: int, *, size: int) -> Any:
    """Examples ``start`` to ``stop`` of a batch of ``size``; tensors of another length are whole.

    Example:
        >>> import torch
        >>> some((torch.arange(3), torch.ones(2)), 0, 1, size=3)
        (tensor([0]), tensor([1., 1.]))
    """
    return mapped(batch, lambda tensor: tensor[start:stop] if tensor.ndim and len(tensor) == size else tensor)


def _pair(batch: Any) -> Sequence[Any]:
    if not isinstance(batch, (tuple, list)) or len(cast("Sequence[Any]", batch)) != 2:
        length = f" of {len(cast('Sequence[Any]', batch))}" if isinstance(batch, (tuple, list)) else ""
        todo = "Pair inputs with their targets; of one such batch, pass [batch]."
        got = f"{type(batch).__name__}{length}"
        raise invalid("objective(batch=)", "a pair (inputs, targets) or a mapping", got, todo)
    return cast("Sequence[Any]", batch)
