"""Loss and accuracy of a model as it is, changing nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.signals.gradient import loss_of
from flowprune.train.forward import Forward
from flowprune.train.tally import Tally

Objective = Callable[[Callable[..., Any], Any], Tensor]
"""``objective(forward, batch)`` -> scalar mean loss."""


class Evaluation(NamedTuple):
    """Mean loss over examples, and the fraction correct (None where batches are not inputs and class labels)."""

    loss: float
    accuracy: float | None


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """Eval mode and no gradients inside; each module's own mode is put back after, also when it raises.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(2).eval(), nn.Dropout())
        >>> with evaluating(model):
        ...     print(model[1].training)
        False
        >>> model[0].training, model[1].training
        (False, True)
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def trainable(objective: Objective, forward: Callable[..., Any], batch: Any) -> Tensor:
    """The loss of a batch, checked to be a scalar that has a gradient.

    Raises:
        ValueError: it is no scalar tensor, or depends on no parameter.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.ones_(layer.weight)
        >>> trainable(lambda forward, batch: forward(batch[0]).mean(), layer, (torch.ones(2, 1), None)).item()
        1.0
    """
    loss = loss_of(objective, forward, batch)
    if not loss.requires_grad:
        todo = "Compute it through forward(...), without torch.no_grad() or .detach()."
        raise invalid("objective(forward, batch)", "a loss that depends on the model's parameters", "a constant", todo)
    return loss


def evaluate_batches(model: nn.Module, batches: Iterable[Any], *, objective: Objective) -> Evaluation:
    """Loss and accuracy over batches, in eval mode, without gradients; one forward pass for both.

    Units: loss is the mean over examples, whatever the sizes of the batches; accuracy is in [0, 1].

    Assumes: the objective is a mean over the examples of a batch.

    Raises:
        ValueError: no batches, an empty one, or an objective that gives no scalar.
    """
    tally = Tally()
    with evaluating(model):
        for batch in batches:
            forward = Forward(model, batch)
            tally = tally.add(loss_of(objective, forward, batch), forward)
    loss = tally.loss
    if loss is None:
        raise invalid("evaluate_batches(batches=)", "at least one batch", "none")
    return Evaluation(loss, tally.accuracy)


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, *, objective: Objective, batch: int = 500) -> Evaluation:
    """Loss and accuracy on normalised images, in slices of ``batch``. See :func:`evaluate_batches`.

    Shapes: images (n, ...), labels (n,).

    Example:
        >>> def squared(forward, batch):
        ...     return (forward(batch[0]) ** 2).mean()
        >>> images, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 0, 0])
        >>> result = evaluate(nn.Identity(), images, labels, objective=squared, batch=2)
        >>> result.loss, round(result.accuracy, 3)
        (0.5, 0.667)
    """
    slices = zip(images.split(batch), labels.split(batch), strict=True)
    return evaluate_batches(model, slices, objective=objective)
