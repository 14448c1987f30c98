"""One step of many walks at once: from a unit through a layer to a unit, over a weight that is drawn.

A unit is drawn with a probability proportional to the sum of |w| over the kernel that leads to it, then a position of
that kernel in proportion to |w|. A table of a layer has a row for every unit that one may stand at: the running sum of
its probabilities. Row r is raised by r, so that all rows together rise and one binary search serves all walks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Table:
    """Where a step leads from every unit.

    Attributes:
        rising: float64 ``(rows * width,)``: row number plus running sum of probabilities, 1 from the last possible on.
        open: Boolean ``(rows,)``: whether there is a step.
        width: The choices of each row.
    """

    rising: Tensor
    open: Tensor
    width: int

    @classmethod
    def of(cls, sums: Tensor, kept: Tensor) -> Table:
        """Of ``(rows, width)`` sums of |w| and counts of kept weights: a row of zeros is uniform over what is kept."""
        total = sums.sum(1, keepdim=True)
        running = torch.where(total > 0, sums, kept).cumsum(1)
        last = running[:, -1:]
        rising = running / torch.where(last > 0, last, 1) + torch.arange(len(sums), dtype=torch.float64)[:, None]
        return cls(rising.flatten(), last[:, 0] > 0, sums.shape[1])

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """A choice for each of some rows, all of them open.

        Shapes: ``(n,)`` rows to ``(n,)`` choices in [0, width).
        """
        wanted = rows + torch.rand(len(rows), generator=generator, dtype=torch.float64)
        below = torch.nextafter((rows + 1).double(), torch.zeros((), dtype=torch.float64))  # a sum may round up
        return torch.searchsorted(self.rising, torch.minimum(wanted, below), right=True) - rows * self.width


@dataclass(frozen=True, eq=False)
class Layer:
    """The steps of a layer both ways.

    Attributes:
        sizes: |w|, zero where it is masked: ``(out * in / groups, kernel)``.
        kept: What is not masked, of the same shape.
        onward: From inputs to outputs.
        back: From outputs to inputs.
        outputs: Of one group.
        inputs: Of one group.
    """

    sizes: Tensor
    kept: Tensor
    onward: Table
    back: Table
    outputs: int
    inputs: int

    @classmethod
    def of(cls, weight: Tensor, mask: Tensor | None = None, *, groups: int = 1) -> Layer:
        """The steps through a weight, of which a mask (True = kept) holds some entries at zero.

        Shapes: ``(out, in / groups, *kernel)``, the mask too.
        """
        outputs, inputs = weight.shape[0] // groups, weight.shape[1]
        flat = weight.detach().cpu().abs().reshape(weight.shape[0] * inputs, -1)
        flat = flat if flat.dtype == torch.float64 else flat.float()
        kept = torch.ones(flat.shape, dtype=torch.bool) if mask is None else mask.detach().cpu().reshape(flat.shape)
        sizes = flat if mask is None else flat * kept
        sums = (sizes.double().sum(1), kept.sum(1).double())
        back = [item.view(-1, inputs) for item in sums]
        onward = [item.view(groups, outputs, inputs).transpose(1, 2).reshape(-1, outputs) for item in sums]
        return cls(sizes, kept, Table.of(onward[0], onward[1]), Table.of(back[0], back[1]), outputs, inputs)

    def step(self, units: Tensor, *, forward: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Where a step leads from some units, from each of which there is one, and the entry of the weight it takes.

        Shapes: ``(n,)`` units to ``(n,)`` units and ``(n,)`` positions in the flattened weight.
        """
        if forward:
            group = units // self.inputs
            reached = group * self.outputs + self.onward.draw(units, generator)
            kernel = reached * self.inputs + (units - group * self.inputs)
        else:
            choice = self.back.draw(units, generator)
            reached = units // self.outputs * self.inputs + choice
            kernel = units * self.inputs + choice
        return reached, kernel * self.sizes.shape[1] + self._position(kernel, generator)

    def _position(self, kernel: Tensor, generator: torch.Generator) -> Tensor | int:
        if self.sizes.shape[1] == 1:
            return 0
        running = self.sizes[kernel].cumsum(1)
        empty = running[:, -1] == 0
        if bool(empty.any()):
            running[empty] = self.kept[kernel[empty]].cumsum(1).to(running.dtype)
        drawn = torch.rand(len(kernel), 1, generator=generator, dtype=running.dtype)
        return (running.div_(running[:, -1:].clone()) <= drawn).sum(1)
