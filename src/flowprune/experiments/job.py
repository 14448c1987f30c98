"""The main job: train a model, prune it early, train it on, and write everything down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch

from flowprune.core.seeds import derive
from flowprune.core.step import Step
from flowprune.experiments import recording, state
from flowprune.experiments.checkpoints import Checkpoint
from flowprune.experiments.environment import describe
from flowprune.experiments.events import Event, Listener, warn
from flowprune.experiments.folder import RunFolder, open_folder
from flowprune.experiments.machine import require_machine, require_writable
from flowprune.experiments.outcome import finish
from flowprune.experiments.parts import Parts, build, build_pruner
from flowprune.experiments.spec import Spec
from flowprune.prune import Pruner
from flowprune.train import EpochRecord, Recorder, State, every, fit


def run(spec: Spec, root: Path | str, *, listen: Listener = warn) -> RunFolder:
    """Do a run, or go on with it where it was interrupted; a finished one is left alone.

    It may be stopped at any moment, by Ctrl-C or by force: the next call goes on from the last checkpoint and
    writes, on a CPU, the same rows as an uninterrupted run, times excepted.

    Args:
        spec: What to do.
        root: The folder of the run folders.
        listen: Hears how far the run is.

    Raises:
        ValueError: the folder holds a run of another spec, or the spec cannot be built here; no folder is made then.
        PruningError: a check failed, a loss is not finite, or another process works in the folder.
    """

    def tell(text: str) -> None:
        listen(Event(spec.run_id, "note", text))

    require_writable("run(root=)", Path(root), folder=True)
    folder = RunFolder(Path(root) / spec.run_id)
    if folder.finished and not folder.damaged():
        return open_folder(spec, Path(root), tell)
    require_machine(spec)
    before = torch.get_num_threads()
    torch.set_num_threads(spec.threads)
    try:
        job = _Job(spec, folder, listen)
        open_folder(spec, Path(root), tell)
        with folder.locked():
            if folder.finished and folder.damaged():
                folder.reopen(tell)
            if not folder.finished:
                job.do(tell)
    finally:
        torch.set_num_threads(before)
    return folder


class _Job:
    """One run while it is going on: its parts, and the moments at which something is done to them."""

    def __init__(self, spec: Spec, folder: RunFolder, listen: Listener) -> None:
        self.spec, self.folder, self.listen = spec, folder, listen
        self.parts: Parts = build(spec)
        self.pruner: Pruner | None = build_pruner(spec.prune, self.parts) if spec.prune else None
        self.rounds = 0
        self.cut_at = 0  # the epoch of the last cut
        data = self.parts.dataset
        valid, test = ((data.inputs(name), data.split(name).labels) for name in ("valid", "test"))
        self.recorder = Recorder(self.parts.objective, valid, test)

    def do(self, tell: Callable[[str], None]) -> None:
        """Train from the last checkpoint to the end."""
        torch.manual_seed(derive(self.spec.seed, "noise"))  # dropout draws from the global generator
        start = self._resume(tell)
        fit(
            self.parts.model,
            self.parts.optimizer,
            self.parts.training.at,
            objective=self.parts.objective,
            epochs=self.spec.train.epochs,
            rate=self.parts.rate,
            callbacks=(self._at_start, every("1ep", self._after_epoch)),
            start=Step(start, "ep"),
        )
        finish(self.spec, self.folder, self.parts, self.pruner, self.recorder.records, cut_at=self.cut_at)

    def _resume(self, tell: Callable[[str], None]) -> int:
        """Put the parts into the state of the newest good checkpoint; the epoch it was made after."""
        self.folder.write_environment(describe(self.spec.threads, self.spec.device))
        found = self.folder.checkpoints.latest(tell)
        if found is None:
            return 0
        self.rounds, self.cut_at = cast(int, found.facts["rounds"]), cast(int, found.facts["cut_at"])
        records = cast("list[dict[str, float]]", found.facts["records"])
        self.recorder.records = [EpochRecord(**fields) for fields in records]  # pyright: ignore
        state.unpack(found.tensors, self.parts, self.pruner, rounds=self.rounds)
        return found.epoch

    def _at_start(self, now: State) -> None:
        if now.iteration == 0:
            self.listen(Event(self.spec.run_id, "progress", "begins", 0, self.spec.epochs))
            self._flow(0)

    def _after_epoch(self, now: State) -> None:
        """Cut where it is time, record the network as it goes on, and save."""
        cut = self._cut(now.epoch)
        self.recorder(now)
        self.folder.rows.append(recording.epoch_row(self.recorder.records[-1]))
        if self.spec.record.flow != "none" and (cut or now.epoch % self.spec.record.flow == 0):
            self._flow(now.epoch)
        if cut or now.epoch % self.spec.record.checkpoint == 0 or now.epoch == self.spec.epochs:
            self._save(now.epoch)
        accuracy = f"test accuracy {self.recorder.records[-1].test_accuracy:.3f}"
        self.listen(Event(self.spec.run_id, "progress", accuracy, now.epoch, self.spec.epochs))

    def _cut(self, epoch: int) -> bool:
        plan = self.spec.prune
        if plan is None or self.pruner is None or self.pruner.done or epoch % Step.parse(plan.every).count:
            return False
        if self.rounds == 0 and self.spec.record.agreement:
            self._write(*recording.agreement_rows(self.parts, self.spec.record, epoch, sparsity=plan.sparsity))
        self._write(*recording.cut_rows(self.parts, self.pruner, epoch))
        self.rounds, self.cut_at = self.rounds + 1, epoch
        return True

    def _flow(self, epoch: int) -> None:
        if self.spec.record.flow != "none":
            self._write(recording.flow_row(self.parts, epoch, fraction=self.spec.record.flow_step))

    def _write(self, *rows: recording.Row) -> None:
        for row in rows:
            self.folder.rows.append(row)

    def _save(self, epoch: int) -> None:
        masks = self.pruner.masks if self.pruner else None
        facts = {
            "rounds": self.rounds,
            "cut_at": self.cut_at,
            "records": [asdict(record) for record in self.recorder.records],
        }
        tensors = state.pack(self.parts.model, self.parts.optimizer, masks)
        self.folder.checkpoints.save(Checkpoint(epoch, tensors, facts))
