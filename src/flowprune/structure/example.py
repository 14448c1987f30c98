"""Example inputs: what a model is called with, however it was written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from flowprune.core.errors import PruningError, first_line, invalid
from flowprune.objectives.batch import arguments


@dataclass(frozen=True, eq=False)
class Example:
    """Positional and named arguments of a forward call.

    Example:
        >>> Example.of({"x": torch.ones(2, 3)}).kwargs["x"].shape
        torch.Size([2, 3])
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, inputs: object, where: str = "trace") -> Example:
        """A tuple or list holds the positional arguments, a mapping names them, anything else is the only one.

        Args:
            inputs: Any of these, or an example.
            where: The function whose ``example_inputs`` these are.

        Raises:
            ValueError: it is the only one, and holds no tensor; or there are no examples in it.
        """
        if isinstance(inputs, Example):
            return inputs
        args, kwargs = arguments(inputs)
        example = cls(args, kwargs)
        if len(args) == 1 and args[0] is inputs and not example.tensors:
            rule = "a tensor, a tuple of arguments or a mapping of named arguments"
            raise invalid(
                f"{where}(example_inputs=)", rule, type(inputs).__name__, "Pass what the model is called with."
            )
        if example.tensors and not any(x.numel() for x in example.tensors):
            shapes = [tuple(x.shape) for x in example.tensors]
            raise invalid(
                f"{where}(example_inputs=)", "examples, two will do", f"tensors of shapes {shapes}", "Pass some."
            )
        return example

    def call(self, model: nn.Module, where: str | None = None) -> Any:
        """The model's output on it.

        Args:
            model: Is run.
            where: The function whose example inputs these are; without it what the model raises is raised.

        Raises:
            PruningError: the model does not run on it.
        """
        if where is None:
            return model(*self.args, **self.kwargs)
        try:
            return model(*self.args, **self.kwargs)
        except Exception as error:
            raise PruningError(
                f"{where}(example_inputs=) must be what the model is called with; it raised "
                f"{first_line(error)}. Pass inputs of its shapes, types and device."
            ) from error

    def map(self, change: Callable[[Tensor], Tensor]) -> Example:
        """The same with every tensor changed."""

        def changed(item: object) -> object:
            return change(item) if isinstance(item, Tensor) else item

        args, kwargs = tree_map(changed, (self.args, self.kwargs))
        return Example(args, kwargs)

    def first(self, count: int) -> Example:
        """The first ``count`` examples; tensors of another length than the first one are shared by all examples."""
        size = next((len(x) for x in self.tensors if x.dim()), 0)
        if size <= count:
            return self
        return self.map(lambda x: x[:count] if x.dim() and len(x) == size else x)

    def of_size(self, count: int) -> Example:
        """``count`` examples: the ones there are, over and over; tensors of another length are shared by all examples.

        Example:
            >>> Example.of(torch.tensor([5, 6])).of_size(3).args[0]
            tensor([5, 6, 5])
        """
        size = next((len(x) for x in self.tensors if x.dim()), 0)
        if size in (0, count):
            return self

        def repeated(x: Tensor) -> Tensor:
            turns = torch.arange(count, device=x.device) % size
            return x.index_select(0, turns) if x.dim() and len(x) == size else x

        return self.map(repeated)

    def channels_last(self) -> Example:
        """The same with images laid out channel by channel for each pixel; tensors of other ranks are as they are."""
        return self.map(lambda x: x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x)

    def copied(self) -> Example:
        """The same with copies of the tensors, on which autograd and inference mode have left no mark."""
        return self.map(lambda x: x.detach().clone())

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors in it."""
        return [x for x in tree_leaves((self.args, self.kwargs)) if isinstance(x, Tensor)]

    @property
    def signature(self) -> str:
        """Shapes and types: two inputs of one signature give the same graph."""
        return ",".join(f"{tuple(x.shape)}{x.dtype}" for x in self.tensors)


def double(x: Tensor) -> Tensor:
    """Floating-point tensors in float64, others as they are."""
    return x.to(torch.float64) if x.is_floating_point() else x
