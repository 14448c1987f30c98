"""Example inputs: what a model is called with, however it was written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from flowprune.core.errors import invalid


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
    def of(cls, inputs: object) -> Example:
        """A tensor is the only argument, a tuple or list holds all of them, a mapping names them.

        Raises:
            ValueError: it is none of these.
        """
        if isinstance(inputs, Example):
            return inputs
        if isinstance(inputs, Tensor):
            return cls((inputs,), {})
        if isinstance(inputs, (tuple, list)):
            return cls(tuple(inputs), {})
        if isinstance(inputs, Mapping):
            return cls((), {str(name): value for name, value in inputs.items()})
        rule = "a tensor, a tuple of arguments or a mapping of named arguments"
        raise invalid("trace(example_inputs=)", rule, type(inputs).__name__, "Pass what the model is called with.")

    def call(self, model: nn.Module) -> Any:
        """The model's output on it."""
        return model(*self.args, **self.kwargs)

    def map(self, change: Callable[[Tensor], Tensor]) -> Example:
        """The same with every tensor changed."""

        def changed(item: object) -> object:
            return change(item) if isinstance(item, Tensor) else item

        args, kwargs = tree_map(changed, (self.args, self.kwargs))
        return Example(args, kwargs)

    def first(self, count: int) -> Example:
        """The first ``count`` examples, where all tensors have the same number of them."""
        return self.map(lambda x: x[:count] if x.dim() else x) if self.batch is not None else self

    @property
    def batch(self) -> int | None:
        """The common first size of all tensors; ``None`` where they differ."""
        sizes = {len(x) if x.dim() else 0 for x in self.tensors}
        return sizes.pop() if len(sizes) == 1 else None

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
