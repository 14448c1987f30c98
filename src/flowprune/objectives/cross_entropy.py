"""Cross-entropy of tempered logits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flowprune.core.errors import invalid
from flowprune.objectives.batch import Forward, outputs, targets_of
from flowprune.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor


def cross_entropy(temperature: float = 1.0) -> Objective:
    r"""Mean of -log softmax(z / T)[y] over examples, z being the model's logits.

    At high T the Gauss-Newton part of the Hessian, O(1/T^2), vanishes beside the residual part, O(1/T): H g
    then measures how homogeneous the network is rather than the curvature of the loss. Score at the
    temperature the model is trained with, unless a method says otherwise (GraSP uses 200).

    Shapes: logits ``(n, classes)`` with targets ``(n,)`` of class numbers or ``(n, classes)`` of probabilities;
        or ``(n, classes, ...)`` with ``(n, ...)``; or logits ``(n, positions, classes)`` with
        ``(n, positions)``, as language models give. With positions, an example's loss is the mean over
        those not marked -100.
    Units: nats per example.
    Assumes: the model returns logits: a model that ends in a softmax is scored with another loss.
    Source: temperature as in Lubana & Dick 2021, arXiv 2009.11839 (5 while training, 200 for GraSP).

    Raises:
        ValueError: temperature is not a positive number.

    Example:
        >>> import torch
        >>> objective = cross_entropy(temperature=2.0)
        >>> logits = torch.tensor([[0.0, 2.0 * torch.tensor(3.0).log()]])
        >>> objective(lambda x: x, (logits, torch.tensor([0])))  # softmax(z / 2) = (1/4, 3/4); -log(1/4)
        tensor(1.3863)
    """
    if not 0 < temperature < math.inf:
        raise invalid("cross_entropy(temperature=)", "a positive number", temperature)

    def per_example(forward: Forward, batch: Any) -> Tensor:
        from torch.nn import functional

        logits, targets = outputs(forward, batch), targets_of(batch)
        if logits.ndim > 2 and targets.shape == logits.shape[:-1] and targets.shape[1:] != logits.shape[2:]:
            logits = logits.movedim(-1, 1)
        scaled = logits if temperature == 1 else logits / temperature
        losses = functional.cross_entropy(scaled, targets, reduction="none")
        if losses.ndim == 1:
            return losses
        counted = (targets != -100).flatten(1).sum(1).clamp_min(1)
        return losses.flatten(1).sum(1) / counted

    return Objective("cross_entropy", per_example, temperature)
