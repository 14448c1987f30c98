"""The Hessian of cross-entropy in the logits: (diag p - p pᵀ) / T², of rank C - 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from flowprune.objectives.batch import targets_of

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100
"""The class number of positions that are not counted, as in PyTorch."""


@dataclass(frozen=True)
class Softmax:
    """∇²_z ℓ of cross-entropy, in as few columns as it has: C - 1 for each position.

    Formula: with tails q_j = Σ_{i>j} p_i, the j-th column is s_j (e_j - Σ_{i>j} (p_i / q_j) e_i), s_j² = p_j q_j /
    (q_j + p_j): the Cholesky factor in closed form, in which nothing cancels.

    Source: Tanabe & Sagae 1992, An Exact Cholesky Decomposition and the Generalized Inverse of the
    Variance-Covariance Matrix of the Multinomial Distribution.

    Attributes:
        temperature: T, what the logits are divided by.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.0]])                              # p = (½, ½), diag p - p pᵀ = ± ¼
        >>> [column.tolist() for column in Softmax().columns(logits, (None, torch.tensor([0])))]
        [[[0.5, -0.5]]]
    """

    temperature: float = 1.0

    def count(self, outputs: Tensor) -> int:
        """C - 1 for each position, as if the classes were the second axis or, where that gives more, the last."""
        sizes = outputs.shape[1:]
        return max((axis - 1) * (prod(sizes) // axis) for axis in (sizes[0], sizes[-1]))

    def columns(self, outputs: Tensor, batch: Any) -> Iterator[Tensor]:
        """The columns, each for one class at one position."""
        import torch

        z, targets, moved = aligned(outputs, targets_of(batch))
        p = torch.softmax(z / self.temperature, 1).reshape(len(z), z.shape[1], -1)  # (n, classes, positions)
        root = _weights(z, targets).sqrt().reshape(len(p), -1) / self.temperature
        reached = p.flip(1).cumsum(1).flip(1)
        tail = torch.cat([reached[:, 1:], torch.zeros_like(p[:, :1])], 1)
        for j in range(p.shape[1] - 1):
            scale = root * torch.where(reached[:, j] > 0, p[:, j] * tail[:, j] / reached[:, j], 0).sqrt()
            column = torch.zeros_like(p)
            column[:, j] = scale
            column[:, j + 1 :] = torch.where(tail[:, j] > 0, -scale / tail[:, j], 0)[:, None] * p[:, j + 1 :]
            for position in range(p.shape[2]):
                yield _back(_alone(column, position), z, moved)

    def samples(self, outputs: Tensor, batch: Any, times: int) -> Iterator[Tensor]:
        """(p - e_y) / T for labels y drawn from p: the gradients of which the Fisher matrix is the second moment."""
        import torch

        z, targets, moved = aligned(outputs, targets_of(batch))
        p = torch.softmax(z / self.temperature, 1).reshape(len(z), z.shape[1], -1)
        root = _weights(z, targets).sqrt().reshape(len(p), 1, -1) / self.temperature
        flat = p.transpose(1, 2).reshape(-1, p.shape[1])
        for _ in range(times):
            labels = torch.multinomial(flat, 1).reshape(len(p), 1, -1)
            yield _back(root * p.scatter_add(1, labels, torch.full_like(p[:, :1], -1.0)), z, moved)

    def bytes(self, outputs: Tensor) -> int:
        """The probabilities, their tails and sums."""
        return 5 * outputs[0].numel() * outputs.element_size()


def aligned(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Logits with the classes on the second axis, the targets, and whether that axis was moved there.

    Example:
        >>> import torch
        >>> aligned(torch.zeros(1, 4, 9), torch.zeros(1, 4).long())[0].shape
        torch.Size([1, 9, 4])
    """
    moved = logits.ndim > 2 and targets.shape == logits.shape[:-1] and targets.shape[1:] != logits.shape[2:]
    return (logits.movedim(-1, 1) if moved else logits), targets, moved


def _weights(z: Tensor, targets: Tensor) -> Tensor:
    """What each position counts in the loss of its example, ``(n, *positions)``."""
    if targets.is_floating_point():
        return targets.sum(1).to(z.dtype) / prod(z.shape[2:])
    counted = (targets != IGNORED).to(z.dtype)
    return counted / counted.reshape(len(z), -1).sum(1).reshape(-1, *[1] * (counted.ndim - 1))


def _alone(column: Tensor, position: int) -> Tensor:
    """The column at one position, zero at the others; itself where there is one."""
    if column.shape[2] == 1:
        return column
    alone = column.new_zeros(column.shape)
    alone[:, :, position] = column[:, :, position]
    return alone


def _back(column: Tensor, z: Tensor, moved: bool) -> Tensor:
    column = column.reshape(z.shape)
    return column.movedim(1, -1) if moved else column
