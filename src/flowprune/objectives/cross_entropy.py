"""Cross-entropy of tempered logits."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

from flowprune.core.errors import invalid
from flowprune.objectives.batch import Forward, outputs, targets_of
from flowprune.objectives.objective import Objective
from flowprune.objectives.softmax import IGNORED, Softmax, aligned

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
        those not marked -100 (padding). An example that is marked -100 as a whole has no loss, and is refused:
        counted as 0 it would lower the mean, and left out it would make the mean over a batch another one than
        the mean over its examples, on which scores and per-example gradients rest.
    Units: nats per example.
    Assumes: the model returns logits: a model that ends in a softmax is scored with another loss.
    Source: temperature as in Lubana & Dick 2021, arXiv 2009.11839 (5 while training, 200 for GraSP).

    Raises:
        ValueError: temperature is not a positive number. When called: an example has no target but -100. On an
            accelerator, where looking would stall every batch, its loss is NaN instead, which ``gather`` and ``fit``
            refuse.

    Example:
        >>> import torch
        >>> objective = cross_entropy(temperature=2.0)
        >>> logits = torch.tensor([[0.0, 2.0 * torch.tensor(3.0).log()]])
        >>> objective(lambda x: x, (logits, torch.tensor([0])))  # softmax(z / 2) = (1/4, 3/4); -log(1/4)
        tensor(1.3863)
    """
    number = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if not number or not 0 < temperature < math.inf:
        raise invalid("cross_entropy(temperature=)", "a positive number", temperature)

    def per_example(forward: Forward, batch: Any) -> Tensor:
        from torch.nn import functional

        logits, targets, _ = aligned(outputs(forward, batch), targets_of(batch))
        scaled = logits if temperature == 1 else logits / temperature
        losses = functional.cross_entropy(scaled, targets, reduction="none")
        if targets.is_floating_point():
            return losses.flatten(1).mean(1) if losses.ndim > 1 else losses
        counted = (targets != IGNORED)[:, None].flatten(1).sum(1)
        _require_targets(counted)
        # 0 / 0 = NaN where nothing was checked: never a loss of 0.
        return losses[:, None].flatten(1).sum(1) / counted

    return Objective("cross_entropy", per_example, temperature, Softmax(temperature))


def _require_targets(counted: Tensor) -> None:
    """Refuse examples without any target, where seeing them costs nothing: not on an accelerator, not under vmap."""
    if counted.device.type != "cpu":
        return
    try:
        empty = bool((counted == 0).any())
    except RuntimeError:  # a batched tensor has no single truth value
        return
    if empty:
        todo = "Leave these examples out of the batch."
        raise invalid("cross_entropy(targets=)", f"given for every example, not {IGNORED} throughout", IGNORED, todo)
