"""An objective: the mean over examples of a loss per example.

Any callable ``(forward, batch) -> scalar`` is one. What an objective may say of itself besides, by attributes:

- ``name``: for messages; a measure that has an objective of its own asks for it.
- ``per_example``: the loss of each example, so that batches may be split.
- ``precision``: a floating point type, such as ``"float64"``, in which ``gather`` runs a copy of the model.
- ``one_batch``: that all batches give the same, so that one is read.
- ``output_curvature``: the Hessian of an example's loss in the outputs, in closed form.
- ``prepare_(model)``: makes a copy of a network, in place, the one that the objective sees, once for many rounds;
  returns the objective of that copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowprune.objectives.batch import Forward

if TYPE_CHECKING:
    from torch import Tensor

    from flowprune.objectives.output_curvature import OutputCurvature

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
        output_curvature: The Hessian of an example's loss in the outputs; None: it is derived where it is needed.

    Example:
        >>> import torch
        >>> objective = Objective("sum", lambda forward, batch: forward(batch[0]).sum(1))
        >>> objective(lambda x: 2 * x, (torch.tensor([[1.0], [3.0]]), None))
        tensor(4.)
    """

    name: str
    per_example: PerExample = field(repr=False)
    temperature: float = 1.0
    output_curvature: OutputCurvature | None = field(default=None, repr=False)

    def __call__(self, forward: Forward, batch: Any) -> Tensor:
        """The mean loss, a scalar tensor."""
        return self.per_example(forward, batch).mean()
