"""A few optimizer steps, to see how a model goes on from here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import torch
from torch import nn
from torch.optim import SGD

from flowprune.core.errors import invalid
from flowprune.core.seeds import derive
from flowprune.signals.as_found import as_found
from flowprune.signals.gradient import Loss
from flowprune.train.evaluation import trainable


@dataclass(frozen=True)
class ShortTraining:
    """SGD for a few steps; set it to how the model is really trained.

    Attributes:
        steps: Optimizer steps.
        learning_rate: Constant.
        momentum: In [0, 1); the momenta start at zero.
        weight_decay: L2, on every parameter that trains.

    Raises:
        ValueError: a number out of range.

    Example:
        >>> ShortTraining(steps=50).learning_rate
        0.05
    """

    steps: int = 20
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise invalid("ShortTraining(steps=)", "a whole number >= 1", self.steps)
        if not 0.0 < self.learning_rate < math.inf:
            raise invalid("ShortTraining(learning_rate=)", "a finite number > 0", self.learning_rate)
        if not 0.0 <= self.momentum < 1.0:
            raise invalid("ShortTraining(momentum=)", "in [0, 1)", self.momentum)
        if not 0.0 <= self.weight_decay < math.inf:
            raise invalid("ShortTraining(weight_decay=)", "a finite number >= 0", self.weight_decay)


def train_briefly(
    model: nn.Module, objective: Loss, batches: Sequence[Any], training: ShortTraining, *, seed: int = 0
) -> tuple[float, ...]:
    """Train in place, over and over the batches in their order; the loss of each step, before its update.

    The steps stop at the first loss that is not finite, which is the last one returned: a learning rate that is
    too high is a finding here, where :func:`flowprune.train.fit` stops with an error. Modules run in train mode,
    except that a model found in train mode is left with its modules' modes as they are. What normalisations learn
    of the batches is forgotten at the end; the parameters stay as trained. PyTorch's random state (dropout) starts
    from the seed and is put back.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.ones_(layer.weight)
        >>> def square(forward, batch): return forward(batch[0]).square().mean()
        >>> plain = ShortTraining(steps=3, learning_rate=0.25, momentum=0.0)        # each step halves w
        >>> train_briefly(layer, square, [(torch.ones(1, 1), None)], plain)
        (1.0, 0.25, 0.0625)
    """
    params = [param for param in model.parameters() if param.requires_grad]
    optimizer = SGD(params, training.learning_rate, training.momentum, weight_decay=training.weight_decay)
    losses: list[float] = []
    with as_found(model, "train"):
        torch.manual_seed(derive(seed, "short_training"))
        for batch in islice(cycle(batches), training.steps):
            loss = trainable(objective, model, batch)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return tuple(losses)
