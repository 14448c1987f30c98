"""An objective: the mean over examples of a loss per example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowprune.objectives.batch import Forward

if TYPE_CHECKING:
    from torch import Tensor

PerExample = Callable[[Forward, Any], "Tensor"]


@dataclass(frozen=True)
class Objective:
    """A loss of a model on a batch: ``objective(forward, batch)`` is the mean over the batch's examples.

    Any callable of that form may stand in its place. Because this one knows the loss of each example, its
    batches can be split, and it has per-example gradients.

    Attributes:
        name: For messages and stored results.
        per_example: ``(forward, batch) -> Tensor[n]``.
        temperature: What the logits are divided by; 1 where there are none.

    Example:
        >>> import torch
        >>> objective = Objective("sum", lambda forward, batch: forward(batch[0]).sum(1))
        >>> objective(lambda x: 2 * x, (torch.tensor([[1.0], [3.0]]), None))
        tensor(4.)
    """

    name: str
    per_example: PerExample = field(repr=False)
    temperature: float = 1.0

    def __call__(self, forward: Forward, batch: Any) -> Tensor:
        """The mean loss, a scalar tensor."""
        return self.per_example(forward, batch).mean()
