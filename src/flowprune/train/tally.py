"""Running means over examples."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from flowprune.core.tensors import has_float64
from flowprune.train.forward import Forward


@dataclass(frozen=True, eq=False)
class Tally:
    """Loss and accuracy over the examples seen, weighted by batch size: the last, smaller batch counts as less.

    Attributes:
        total_loss: Sum over examples, float64; a tensor stays on its device, and is read only when asked for.
        examples: How many.
        correct: int64 (), on the device, read only when accuracy is asked for; None where some batch had no labels.

    Example:
        >>> import torch
        >>> batch = (torch.eye(2), torch.tensor([0, 0]))
        >>> forward = Forward(torch.nn.Identity(), batch)
        >>> _ = forward(batch[0])
        >>> tally = Tally().add(0.5, forward).add(1.5, forward)
        >>> tally.loss, tally.accuracy
        (1.0, 0.5)
    """

    total_loss: Tensor | float = 0.0
    examples: int = 0
    correct: Tensor | None = None

    def add(self, loss: Tensor | float, forward: Forward) -> Tally:
        """With one more batch, whose mean loss this is."""
        summed = (_widest(loss) if isinstance(loss, Tensor) else loss) * forward.examples
        correct = forward.correct()
        if correct is not None and self.examples > 0:
            correct = None if self.correct is None else self.correct + correct
        return Tally(self.total_loss + summed, self.examples + forward.examples, correct)

    @property
    def loss(self) -> float | None:
        """Mean loss; None before the first batch."""
        return float(self.total_loss) / self.examples if self.examples else None

    @property
    def accuracy(self) -> float | None:
        """Fraction correct."""
        return None if self.correct is None else int(self.correct) / self.examples


def _widest(loss: Tensor) -> Tensor:
    """In float64 where its device has that; it stays there, since a copy to the CPU would make every step wait."""
    held = loss.detach()
    return held.double() if has_float64(held.device) else held.float()
