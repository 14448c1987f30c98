"""Weight gradients that are sums of outer products: g_i = sum_t b_it a_it^T."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CACHE_BYTES = 1 << 21
GROUP_BYTES = CACHE_BYTES << 6
FEW_POSITIONS = 4


def few(positions: int, vectors: int) -> bool:
    """Whether squares are better expanded over pairs of positions, of which one matrix serves all vectors.

    Example:
        >>> few(4, 1), few(16, 1), few(16, 9)
        (True, False, True)
    """
    return positions <= FEW_POSITIONS * vectors


@dataclass(frozen=True, eq=False)
class Outer:
    """Gradients of a matrix from its inputs ``a (n, d, t)`` and the gradients of its outputs ``b (n, p, t)``.

    Where several vectors are pulled back from the outputs, ``b`` is ``(vectors, n, p, t)``.

    Example:
        >>> Outer(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 1.0]]])).squares()  # (1*3 + 2*1)^2
        tensor([[25.]])
    """

    a: Tensor
    b: Tensor

    def joined(self, others: Sequence[Outer]) -> Outer:
        """The inputs are the same."""
        return Outer(self.a, torch.stack([self.b, *(other.b for other in others)]))

    def squares(self) -> Tensor:
        """sum_i g_i^2, ``(p, d)``, in the way that is fastest for these sizes."""
        positions = self.a.shape[2]
        if positions == 1:
            return self._each[..., 0].square().sum(0).T @ self.a[..., 0].square()
        if few(positions, len(self._each)):
            return self._by_pairs()
        return self._by_examples() if self.a.device.type == "cpu" else self._by_groups()

    @property
    def _each(self) -> Tensor:
        """``(vectors, n, p, t)``."""
        return self.b if self.b.ndim == 4 else self.b[None]

    def _by_pairs(self) -> Tensor:
        """Expand the square over pairs of positions: no per-example matrix is formed."""
        a, b = self.a.permute(2, 0, 1).contiguous(), self._each.permute(3, 0, 1, 2).contiguous()
        total = a.new_zeros(b.shape[3], a.shape[2])
        for s in range(len(a)):
            for t in range(s, len(a)):
                both = b[s, 0] * b[t, 0] if b.shape[1] == 1 else torch.linalg.vecdot(b[s], b[t], dim=0)
                total.addmm_(both.T, a[s] * a[t], alpha=1 if s == t else 2)
        return total

    def _by_examples(self) -> Tensor:
        """One example at a time into a block of rows that stays in the cache."""
        (n, d, _), each = self.a.shape, self._each
        p = each.shape[2]
        rows = max(1, min(p, CACHE_BYTES // (d * self.a.element_size())))
        total, block = self.a.new_zeros(p, d), self.a.new_empty(rows, d)
        inputs = self.a.transpose(1, 2)
        for start in range(0, p, rows):
            part, outputs = total[start : start + rows], each[:, :, start : start + rows]
            held = block[: len(part)]
            for example in range(n):
                for vector in outputs[:, example]:
                    torch.mm(vector, inputs[example], out=held)
                    part.addcmul_(held, held)
        return total

    def _by_groups(self) -> Tensor:
        """Many examples at a time, as many as fit beside a batch's activations."""
        (n, d, _), each = self.a.shape, self._each
        p = each.shape[2]
        most = max(1, GROUP_BYTES // (p * d * self.a.element_size()))
        total = self.a.new_zeros(p, d)
        for start in range(0, n, most):
            some = slice(start, start + most)
            inputs = self.a[some].transpose(1, 2)
            for vector in each[:, some]:
                total += torch.bmm(vector, inputs).square_().sum(0)
        return total
