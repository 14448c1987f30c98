"""One parameter's per-example gradients, held in whatever form is cheapest to reduce."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Contribution(Protocol):
    """Gradients g_i of the losses of n examples with respect to one parameter.

    Of an example there may be several: one for each vector that is pulled back from the outputs.
    """

    def squares(self) -> Tensor:
        """sum_i g_i^2, elementwise, in the parameter's shape."""
        ...

    def joined(self, others: Sequence[Any]) -> Contribution:
        """With what the same examples contribute for other vectors: contributions of the same kind."""
        ...


Consume = Callable[[str, Contribution], None]
"""What to do with a parameter's contribution; called while the backward pass runs, then the parts are freed."""


def at_least_single(tensor: Tensor) -> Tensor:
    """Half precision as float32: squares of small gradients would be zero in it.

    Example:
        >>> at_least_single(torch.ones(1, dtype=torch.float16)).dtype
        torch.float32
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@dataclass(frozen=True, eq=False)
class Dense:
    """The gradients themselves, ``(n, *shape)``: for parameters that are small, such as biases and norms.

    Example:
        >>> Dense(torch.tensor([[1.0], [2.0]])).squares()
        tensor([5.])
    """

    gradients: Tensor

    def squares(self) -> Tensor:
        """sum_i g_i^2."""
        gradients = at_least_single(self.gradients)
        return torch.linalg.vecdot(gradients, gradients, dim=0)

    def joined(self, others: Sequence[Dense]) -> Dense:
        """One after the other."""
        return Dense(torch.cat([self.gradients, *(other.gradients for other in others)]))


@dataclass(frozen=True, eq=False)
class Scattered:
    """Gradients of a table of which each example uses a few rows: ``rows (n, t)``, ``b (n, t, width)``.

    An example that uses a row twice adds both before the square.

    Example:
        >>> Scattered(torch.tensor([[0, 0], [0, 1]]), torch.ones(2, 2, 1), height=3).squares().flatten()
        tensor([5., 1., 0.])
    """

    rows: Tensor
    b: Tensor
    height: int

    def squares(self) -> Tensor:
        """sum_i g_i^2."""
        examples = torch.arange(len(self.rows), device=self.rows.device)[:, None]
        pairs, where = torch.unique(examples * self.height + self.rows, return_inverse=True)
        sums = self.b.new_zeros(len(pairs), self.b.shape[-1]).index_add_(0, where.flatten(), self.b.flatten(0, 1))
        table = self.b.new_zeros(self.height, self.b.shape[-1])
        return table.index_add_(0, pairs % self.height, sums.square())

    def joined(self, others: Sequence[Scattered]) -> Scattered:
        """As if they were of other examples."""
        every = (self, *others)
        return Scattered(torch.cat([one.rows for one in every]), torch.cat([one.b for one in every]), self.height)
