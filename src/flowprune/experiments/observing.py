"""What is looked at between the epochs of a run, and written down: the flow, its real steps, measures, units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from flowprune.analysis import FollowedSteps
from flowprune.experiments import recording
from flowprune.experiments.parts import Parts
from flowprune.experiments.rows import Row
from flowprune.experiments.settings import RecordSpec
from flowprune.experiments.tracking import Tracker, scatter_rows


class Observer:
    """Makes the rows that the record of a spec asks for.

    Args:
        record: What is asked for.
        parts: Looked at; nothing of them is changed.
    """

    def __init__(self, record: RecordSpec, parts: Parts) -> None:
        self.record, self.parts = record, parts
        self.tracker = Tracker(record.track)
        self._followed: FollowedSteps | None = None
        self._from = 0

    def dense(self, epoch: int) -> Iterator[Row]:
        """Of the network before anything is cut."""
        if self.tracker.due(epoch):
            yield from self.tracker.rows(self.parts, epoch)
        if epoch in self.record.scatter.epochs:
            yield from scatter_rows(self.parts, self.record.scatter.temperatures, epoch)

    def flow(self, epoch: int, *, always: bool = False) -> Iterator[Row]:
        """The norm and its derivatives, every so many epochs and ``always`` after a cut."""
        if self._due(epoch) or (always and self.record.flow != "none"):
            yield recording.flow_row(self.parts, epoch, fraction=self.record.flow_step)

    def follow(self, epoch: int) -> None:
        """Begin to follow the optimizer's steps after an epoch whose flow is recorded."""
        steps = self.record.flow_training
        if steps != "none" and self._due(epoch):
            self._from = epoch
            self._followed = FollowedSteps(self.parts.optimizer, steps=min(steps, len(self.parts.training)))

    def followed(self) -> Iterator[Row]:
        """What came of the steps that were followed."""
        if self._followed is not None:
            yield recording.training_flow_row(self._followed.change, self._from)
            self._followed.close()
            self._followed = None

    def _due(self, epoch: int) -> bool:
        return self.record.flow != "none" and epoch % self.record.flow == 0

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it."""
        return self.tracker.tensors()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`tensors` was taken."""
        self.tracker.restore(tensors)
