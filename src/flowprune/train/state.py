"""What a callback is told."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer

from flowprune.core.step import Step
from flowprune.train.tally import Tally


@dataclass(frozen=True, eq=False)
class State:
    """A moment of training, between two optimizer steps.

    The record is frozen; the model and the optimizer in it are the live ones, and a callback may change them.

    Attributes:
        model: The model in training.
        optimizer: Its optimizer.
        iteration: Optimizer steps taken since the very start, also of a resumed run.
        per_epoch: Steps that make an epoch.
        tally: Training loss and accuracy over the examples of the running epoch, each as it was before its own
            step; after a resume inside an epoch, over those since then.
        last: The loss of the batch of the step just taken, on its device; None before the first.
        learning_rate: Of the step just taken; before the first, the optimizer's own.
        seconds: Spent in the steps of the running epoch, without callbacks.
    """

    model: nn.Module
    optimizer: Optimizer
    iteration: int
    per_epoch: int
    tally: Tally
    last: Tensor | None
    learning_rate: float
    seconds: float

    @property
    def last_loss(self) -> float | None:
        """Of the batch of the step just taken; None before the first."""
        return None if self.last is None else float(self.last)

    @property
    def loss(self) -> float | None:
        """Mean training loss of the running epoch so far; None before the first step."""
        return self.tally.loss

    @property
    def accuracy(self) -> float | None:
        """Fraction correct of the running epoch so far; None where batches are not (inputs, class labels)."""
        return self.tally.accuracy

    @property
    def epoch(self) -> int:
        """Whole epochs behind us."""
        return self.iteration // self.per_epoch

    @property
    def epoch_ends(self) -> bool:
        """Whether the last step was the last of its epoch."""
        return self.iteration > 0 and self.iteration % self.per_epoch == 0

    @property
    def step(self) -> Step:
        """This moment, to be handed to ``fit(start=)``."""
        return Step(self.iteration, "it")
