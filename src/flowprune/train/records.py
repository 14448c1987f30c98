"""What a run leaves behind: a row per epoch, and a result that never chose a model by its test accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from flowprune.core.errors import PruningError, invalid
from flowprune.train.evaluation import Objective, evaluate
from flowprune.train.state import State

Examples = tuple[Tensor, Tensor]
"""Normalised images and labels, such as ``(dataset.inputs("valid"), dataset.valid.labels)``."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch. Accuracies are fractions in [0, 1].

    Attributes:
        epoch: Counted from 1.
        iteration: Optimizer steps since the start.
        train_loss: Mean over the epoch's training examples, each before its own step.
        train_accuracy: Over the same; None where batches are not inputs and class labels.
        valid_loss: At the end of the epoch, in eval mode.
        valid_accuracy: As valid_loss.
        test_accuracy: As valid_loss.
        learning_rate: Of the epoch's last step.
        seconds: Spent in training steps.
    """

    epoch: int
    iteration: int
    train_loss: float
    train_accuracy: float | None
    valid_loss: float
    valid_accuracy: float
    test_accuracy: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class RunRecord:
    """The result of a run.

    Attributes:
        test_accuracy_final: After the last epoch.
        test_accuracy_selected: After the epoch that the validation split chose.
        valid_accuracy_best: The validation accuracy it was chosen for.
        selected_epoch: That epoch, counted from 1.
        epochs: How many were trained.
        train_seconds: Spent in training steps.
    """

    test_accuracy_final: float
    test_accuracy_selected: float
    valid_accuracy_best: float
    selected_epoch: int
    epochs: int
    train_seconds: float


def select(records: Sequence[EpochRecord], *, after: int = 0) -> RunRecord:
    """The result of a run: final, and at the epoch after ``after`` with the best validation accuracy.

    Ties, common where there are few validation images, go to the lower validation loss, then to the earlier epoch.
    The test accuracies are reported and never compared.

    Args:
        records: In the order of training.
        after: Only later epochs may be chosen: give the epoch of the last cut, as a network before it is another.

    Raises:
        ValueError: no epoch later than ``after``.

    Example:
        >>> rows = [EpochRecord(i, i, 1.0, 0.5, 1.0, valid, test, 0.1, 2.0)
        ...         for i, valid, test in [(1, 0.9, 0.5), (2, 0.7, 0.8), (3, 0.7, 0.9)]]
        >>> select(rows).test_accuracy_selected, select(rows, after=1).test_accuracy_selected
        (0.5, 0.8)
        >>> select(rows).test_accuracy_final
        0.9
    """
    eligible = [record for record in records if record.epoch > after]
    if not eligible:
        raise invalid("select(after=)", "before the last recorded epoch", after)
    best = max(eligible, key=lambda record: (record.valid_accuracy, -record.valid_loss))
    return RunRecord(
        test_accuracy_final=records[-1].test_accuracy,
        test_accuracy_selected=best.test_accuracy,
        valid_accuracy_best=best.valid_accuracy,
        selected_epoch=best.epoch,
        epochs=records[-1].epoch,
        train_seconds=sum(record.seconds for record in records),
    )


def best_test(records: Sequence[EpochRecord]) -> float:
    """The best test accuracy of any epoch, as some published numbers are: chosen on the test split, so too high.

    Only for comparison with such numbers, and only under this name.

    Example:
        >>> rows = [EpochRecord(i, i, 1.0, 0.5, 1.0, 0.5, test, 0.1, 2.0) for i, test in [(1, 0.9), (2, 0.8)]]
        >>> best_test(rows)
        0.9
    """
    return max(record.test_accuracy for record in records)


@dataclass(eq=False)
class Recorder:
    """A callback that keeps an :class:`EpochRecord` per call: ``every("1ep", Recorder(objective, valid, test))``.

    Place it after a callback that cuts, to record the network as it goes on. A resumed run gives it the
    ``records`` of the first part.

    Attributes:
        objective: Of the loss.
        valid: Normalised images and labels.
        test: As valid.
        records: One per epoch so far.
    """

    objective: Objective
    valid: Examples
    test: Examples
    records: list[EpochRecord] = field(default_factory=list)

    def __call__(self, state: State) -> None:
        """Evaluate, and append a record.

        Raises:
            PruningError: there is no training loss yet, or no accuracy to choose a model by.
        """
        valid = evaluate(state.model, *self.valid, objective=self.objective)
        test = evaluate(state.model, *self.test, objective=self.objective)
        if state.loss is None or valid.accuracy is None or test.accuracy is None:
            raise PruningError(
                "Recorder() needs at least one training step, and a model that gives one logit per class."
            )
        self.records.append(
            EpochRecord(
                epoch=state.epoch,
                iteration=state.iteration,
                train_loss=state.loss,
                train_accuracy=state.accuracy,
                valid_loss=valid.loss,
                valid_accuracy=valid.accuracy,
                test_accuracy=test.accuracy,
                learning_rate=state.learning_rate,
                seconds=state.seconds,
            )
        )
