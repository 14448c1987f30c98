"""The block granularity: a unit is a rectangle of a weight's matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from flowprune.core.arguments import require_size
from flowprune.masks.offered import offered, require_skip
from flowprune.masks.weight_group import WeightGroup
from flowprune.signals import Signals


@dataclass(frozen=True)
class Blocks:
    """Prune rectangles of ``rows`` x ``cols`` weights, of every tensor with two or more axes.

    A weight is read as a matrix of its outputs by its inputs: (out, in) for a linear layer, (out, in * kernel) for a
    convolution, whose entries of one input lie side by side. So ``Blocks(1, 9)`` are the kernels of 3 x 3 convolutions,
    and ``Blocks(4, 1)`` are four neighbouring outputs at one input. Blocks begin at the first row and column; at the
    last rows and columns, what is left over is a smaller block, a unit like the others.

    The score of a block is the measure's own reduction of its weights' signed contributions: abs(Σ θg) lets them
    cancel, Σ abs(θg) does not. Its weights become zero together and stay in place; the denominator of a sparsity is
    the number of blocks.

    Shapes: scores and masks of a weight are ``(ceil(out / rows), ceil(in * kernel / cols))``, and the other way round
    where a weight has its inputs first (transposed convolutions).

    Attributes:
        rows: Outputs of a block.
        cols: Inputs of a block, each position of a kernel counted.
        skip: Patterns (``fnmatch``) of parameter names that are not offered at all, so not counted either.

    Raises:
        ValueError: a size below 1, or a pattern that fits no parameter.

    Example:
        >>> from flowprune.measures import score
        >>> gradient = {"w": torch.tensor([[1.0, -1.0, 3.0], [2.0, 1.0, 0.0]])}
        >>> signals = Signals(params={"w": torch.ones(2, 3)}, gradient=gradient)
        >>> score("loss_preservation", signals, Blocks(1, 2))["w"].tolist()     # sum of abs
        [[2.0, 3.0], [3.0, 0.0]]
        >>> score("taylor_first_order", signals, Blocks(1, 2))["w"].tolist()    # abs of the sum
        [[0.0, 3.0], [3.0, 0.0]]
    """

    rows: int
    cols: int
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_size("Blocks(rows=)", self.rows)
        require_size("Blocks(cols=)", self.cols)
        require_skip("Blocks", self.skip)

    @property
    def name(self) -> str:
        """The word used in specs and reports, such as ``blocks:4x1``."""
        return f"blocks:{self.rows}x{self.cols}"

    @property
    def unit(self) -> str:
        """What the units are called."""
        return f"{self.rows}x{self.cols} blocks"

    @property
    def removes(self) -> bool:
        """They are held at zero."""
        return False

    @property
    def sparsity(self) -> None:
        """Any will do."""

    def layout(self, signals: Signals) -> dict[str, WeightGroup]:
        """The blocks of each weight, in the model's order."""
        plain = replace(self, skip=())
        found = offered("Blocks", signals, self.skip)
        return {n: WeightGroup(n, tuple(p.shape), plain, inputs_first=first) for n, (p, first) in found.items()}

    def grid(self, weight: Sequence[int]) -> tuple[int, int]:
        """How many blocks there are, down and across."""
        height, width = weight[0], torch.Size(weight[1:]).numel()
        return -(-height // self.rows), -(-width // self.cols)

    def total(self, values: Tensor) -> Tensor:
        """The sum over each block."""
        matrix = values.flatten(1)
        missing = (0, -matrix.shape[1] % self.cols, 0, -matrix.shape[0] % self.rows)
        whole = pad(matrix, missing) if any(missing) else matrix
        down, across = self.grid(values.shape)
        return whole.reshape(down, self.rows, across, self.cols).sum((1, 3))

    def spread(self, mask: Tensor, weight: Sequence[int]) -> Tensor:
        """The mask of blocks, each over its weights."""
        height, width = weight[0], torch.Size(weight[1:]).numel()
        tall = mask.repeat_interleave(self.rows, 0)[:height]
        return tall.repeat_interleave(self.cols, 1)[:, :width].reshape(*weight)

    def fan_in(self, weight: Tensor) -> Tensor:
        """The weights of each block."""
        return self.total(torch.ones_like(weight))

    def required(self, scores: Tensor, alive: Tensor | None) -> None:
        """None of the blocks must stay."""
        del scores, alive
