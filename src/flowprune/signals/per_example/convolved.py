"""Weight gradients of convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from flowprune.signals.per_example.outer import Outer, few

GROUPED_BYTES = 1 << 22
UNFOLDED_BYTES = 1 << 25
LARGE = 250_000
"""Entries of a filter bank from which the per-example gradients are better not all formed."""


@dataclass(frozen=True, eq=False)
class Convolved:
    """Gradients of a convolution's weight from its inputs ``a`` and the gradients of its outputs ``b``.

    Where several vectors are pulled back from the outputs, ``b`` has them on an axis before the examples.

    Example:
        >>> conv = nn.Conv2d(1, 1, 1)
        >>> Convolved(conv, torch.ones(2, 1, 3, 3), torch.ones(2, 1, 3, 3)).squares().item()  # 2 * 9^2
        162.0
    """

    module: nn.Conv1d | nn.Conv2d | nn.Conv3d
    a: Tensor
    b: Tensor

    def joined(self, others: Sequence[Convolved]) -> Convolved:
        """The inputs are the same."""
        return Convolved(self.module, self.a, torch.stack([self.b, *(other.b for other in others)]))

    def squares(self) -> Tensor:
        """sum_i g_i^2, in the way that is fastest for these sizes."""
        each, weight = self._each, self.module.weight
        plain = self.module.groups == 1 and self.a.ndim == 4
        close = few(each[0, 0, 0].numel(), len(each))
        if plain and (close or weight.numel() >= LARGE or self.a.device.type != "cpu"):
            return self._unfolded()
        return self._grouped()

    @property
    def _each(self) -> Tensor:
        """``(vectors, n, p, *positions)``."""
        return self.b if self.b.ndim > self.a.ndim else self.b[None]

    def _unfolded(self) -> Tensor:
        """Through the patches each output position sees, a chunk of examples at a time."""
        module = cast(nn.Conv2d, self.module)
        weight = module.weight
        unfold = nn.Unfold(module.kernel_size, module.dilation, cast("tuple[int, ...]", module.padding), module.stride)
        each = self._each
        patches = weight[0].numel() * each[0, 0, 0].numel() * self.a.element_size()
        most = max(1, UNFOLDED_BYTES // patches)
        total = self.a.new_zeros(len(weight), weight[0].numel())
        for start in range(0, len(self.a), most):
            some = slice(start, start + most)
            total += Outer(unfold(self.a[some]), each[:, some].flatten(3)).squares()
        return total.view_as(weight)

    def _grouped(self) -> Tensor:
        """One convolution with a group per example forms all gradients of a chunk."""
        weight = self.module.weight
        most = max(1, GROUPED_BYTES // (weight.numel() * self.a.element_size()))
        total = torch.zeros_like(weight, dtype=self.a.dtype).flatten()
        for start in range(0, len(self.a), most):
            some = slice(start, start + most)
            for vector in self._each[:, some]:
                total += self._gradients(self.a[some], vector).flatten(1).square_().sum(0)
        return total.view_as(weight)

    def _gradients(self, a: Tensor, b: Tensor) -> Tensor:
        """``(n, *weight.shape)``: the examples side by side as channels of one image."""
        module, n = self.module, len(a)
        shape = (n * len(module.weight), *module.weight.shape[1:])
        side = [x.reshape(1, -1, *x.shape[2:]) for x in (b, a)]
        geometry = (list(module.stride), list(module.padding), list(module.dilation), False, [0] * (a.ndim - 2))
        mask, groups = [False, True, False], n * module.groups
        weight = a.new_empty(1).expand(shape)
        gradient = torch.ops.aten.convolution_backward(*side, weight, None, *geometry, groups, mask)[1]
        return gradient.view(n, *module.weight.shape)
