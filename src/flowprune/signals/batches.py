"""Reading, sizing, moving and splitting batches of any nesting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.objectives.batch import mapped, size_of, some

T = TypeVar("T")


@dataclass(frozen=True)
class Counted:
    """A batch, its place in the order, and how many examples it holds."""

    index: int
    batch: Any
    size: int


def read(batches: Iterable[Any], model: nn.Module, *, where: str = "gather") -> Iterator[Counted]:
    """The batches one by one, moved to the model's device if it has just one, and fit for autograd.

    Args:
        batches: Of any nesting.
        model: Whose device they are moved to.
        where: The function that an error names.

    Raises:
        ValueError: there is none, or one batch came in place of an iterable of them.
    """
    require_batches(where, batches)
    index = -1
    for index, batch in enumerate(batches):
        moved = on_device(batch, model)
        yield Counted(index, moved, size_of(moved, where=where))
    if index < 0:
        todo = "A generator that was read before is exhausted: pass a list or a DataLoader."
        raise invalid(f"{where}(batches=)", "an iterable with at least one batch", "none", todo)


def require_batches(where: str, batches: object) -> None:
    """Raise where this is one batch, or nothing that can be read.

    Raises:
        ValueError: naming what it is.

    Example:
        >>> require_batches("gather", 3)
        Traceback (most recent call last):
        ValueError: gather(batches=) must be an iterable of batches; got 3. To use one batch, pass [batch].
    """
    if isinstance(batches, (Tensor, Mapping)) or _is_pair(batches):
        got: object = f"one batch ({type(batches).__name__})"
    elif isinstance(batches, Iterable) or hasattr(batches, "__getitem__"):  # iter() takes either
        return
    else:
        got = batches
    raise invalid(f"{where}(batches=)", "an iterable of batches", got, "To use one batch, pass [batch].")


def _is_pair(batches: object) -> bool:
    """Whether this looks like ``(inputs, targets)`` itself."""
    pair = cast("tuple[object, ...]", batches)
    return isinstance(batches, tuple) and len(pair) == 2 and all(isinstance(part, Tensor) for part in pair)


def on_device(batch: Any, model: nn.Module) -> Any:
    """The batch where the model is; a model spread over several devices places its own inputs.

    Tensors made in inference mode, which autograd refuses to save, are copied.
    """
    devices = {parameter.device for parameter in model.parameters()}
    device = devices.pop() if len(devices) == 1 else None

    def moved(tensor: Tensor) -> Tensor:
        there = tensor if device is None else tensor.to(device, non_blocking=True)
        return there.clone() if there.is_inference() else there

    return mapped(batch, moved)


def split(counted: Counted, most: int) -> list[Counted]:
    """Parts of at most ``most`` examples; tensors of another length are shared by all parts.

    Example:
        >>> import torch
        >>> [part.size for part in split(Counted(0, torch.zeros(5, 2), 5), 2)]
        [2, 2, 1]
    """
    if counted.size <= most:
        return [counted]
    starts = range(0, counted.size, most)
    return [
        Counted(counted.index, part(counted, start, start + most), min(most, counted.size - start)) for start in starts
    ]


def per_shape(find: Callable[[Counted], T]) -> Callable[[Counted], T]:
    """``find``, asked once for each shape that examples have.

    Example:
        >>> import torch
        >>> asked = per_shape(lambda counted: counted.size)
        >>> asked(Counted(0, torch.zeros(5, 2), 5)), asked(Counted(1, torch.zeros(3, 2), 3))
        (5, 5)
    """
    known: dict[tuple[tuple[int, ...], ...], T] = {}

    def found(counted: Counted) -> T:
        shapes = shapes_of(counted)
        if shapes not in known:
            known[shapes] = find(counted)
        return known[shapes]

    return found


def shapes_of(counted: Counted) -> tuple[tuple[int, ...], ...]:
    """The shapes of one example's tensors.

    Example:
        >>> import torch
        >>> shapes_of(Counted(0, (torch.zeros(5, 2), torch.zeros(5)), 5))
        ((2,), ())
    """
    found: list[tuple[int, ...]] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tuple(tensor.shape[1:]))
        return tensor

    mapped(counted.batch, note)
    return tuple(found)


def part(counted: Counted, start: int, stop: int) -> Any:
    """Examples ``start`` to ``stop`` of a batch.

    Example:
        >>> import torch
        >>> part(Counted(0, (torch.arange(3), torch.arange(3)), 3), 0, 2)
        (tensor([0, 1]), tensor([0, 1]))
    """
    return some(counted.batch, start, stop, size=counted.size)
