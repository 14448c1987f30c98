"""The main job: train a model, prune it early, train it on, and write everything down."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch

from flowprune.core.seeds import derive
from flowprune.core.step import Step
from flowprune.experiments import recording, state
from flowprune.experiments.at_init import prune_at_init
from flowprune.experiments.best import Best
from flowprune.experiments.checkpoints import Checkpoint
from flowprune.experiments.collapsing import collapse_rows
from flowprune.experiments.environment import describe
from flowprune.experiments.events import Event, Listener, warn
from flowprune.experiments.folder import RunFolder, open_folder
from flowprune.experiments.machine import require_machine, require_writable, whole_float32
from flowprune.experiments.observing import Observer
from flowprune.experiments.outcome import finish
from flowprune.experiments.parts import Parts, build, build_model, build_pruner, cut_short
from flowprune.experiments.prefix import Prefix
from flowprune.experiments.rows import Row
from flowprune.experiments.spec import Spec
from flowprune.experiments.tracking import agreement_rows
from flowprune.experiments.trained import prune_trained
from flowprune.prune import Pruner
from flowprune.prune.collapse import collapse
from flowprune.train import EpochRecord, Recorder, State, every, fit


def run(spec: Spec, root: Path | str, *, listen: Listener = warn, share: bool = False) -> RunFolder:
    """Do a run, or go on with it where it was interrupted; a finished one is left alone.

    It may be stopped at any moment, by Ctrl-C or by force: the next call goes on from the last checkpoint and
    writes, on a CPU, the same rows as an uninterrupted run, times excepted.

    Args:
        spec: What to do.
        root: The folder of the run folders.
        listen: Hears how far the run is.
        share: Whether to leave the state before the first cut for other runs that begin alike; a state that another
            left is used in any case.

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
        with folder.locked(), whole_float32():
            if folder.finished and folder.damaged():
                folder.reopen(tell)
            if not folder.finished:
                _begin(job, Path(root), share=share)
                try:
                    job.do(tell)
                finally:
                    job.leave()
    finally:
        torch.set_num_threads(before)
    return folder


def _begin(job: _Job, root: Path, *, share: bool) -> None:
    """Give a fresh run the shared beginning from its store; or let it leave its own there, and hold that place."""
    prefix = Prefix.of(job.spec, root)
    if prefix is None or job.folder.checkpoints.any() or prefix.give(job.folder) or not share:
        return
    prefix.hold()
    if prefix.give(job.folder):  # another run left it while this one waited
        prefix.release()
    else:
        job.prefix = prefix


def run_shared(spec: Spec, root: Path | str, *, listen: Listener = warn) -> RunFolder:
    """:func:`run`, leaving what other runs of a sweep can begin from."""
    return run(spec, root, listen=listen, share=True)


class _Job:
    """One run while it is going on: its parts, and the moments at which something is done to them."""

    def __init__(self, spec: Spec, folder: RunFolder, listen: Listener) -> None:
        self.spec, self.folder, self.listen = spec, folder, listen
        self.parts: Parts = build(spec)
        self.pruner: Pruner | None = build_pruner(spec, self.parts)
        self.observer = Observer(spec.record, self.parts)
        self.best = Best()
        self.prefix: Prefix | None = None  # where the state before the first cut is to be left
        self.rounds = 0
        self.cut_at = 0  # the epoch of the last cut
        data = self.parts.dataset
        valid, test = ((data.inputs(name), data.split(name).labels) for name in ("valid", "test"))
        self.recorder = Recorder(self.parts.objective, valid, test)

    def do(self, tell: Callable[[str], None]) -> None:
        """Train from the last checkpoint to the end."""
        for text in cut_short(self.spec, self.parts.dataset):
            tell(text)
        torch.manual_seed(derive(self.spec.seed, "noise"))  # dropout draws from the global generator
        start = self._resume(tell)
        once = Step.parse(self.spec.train.epochs).count  # the second time has the batches and rates of the first
        fit(
            self.parts.model,
            self.parts.optimizer,
            lambda epoch: self.parts.training.at(epoch % once),
            objective=self.parts.trained,
            epochs=Step(self.spec.epochs, "ep"),
            rate=lambda iteration, per_epoch: self.parts.rate(iteration % (once * per_epoch), per_epoch),
            callbacks=(self._at_start, every("1ep", self._after_epoch)),
            start=Step(start, "ep"),
        )
        self._write(self.observer.tracker.last_rows())
        finish(self.spec, self.folder, self.parts, self.pruner, self.recorder.records, cut_at=self.cut_at)

    def leave(self) -> None:
        """Let others go on who wait for the shared beginning; nothing where it is not held."""
        if self.prefix is not None:
            self.prefix.release()
            self.prefix = None

    def _resume(self, tell: Callable[[str], None]) -> int:
        """Put the parts into the state of the newest good checkpoint; the epoch it was made after."""
        self.folder.write_environment(describe(self.spec.threads, self.spec.device))
        found = self.folder.checkpoints.latest(tell)
        if found is None:
            return 0
        self.rounds, self.cut_at = cast(int, found.facts["rounds"]), cast(int, found.facts["cut_at"])
        records = cast("list[dict[str, float]]", found.facts["records"])
        self.recorder.records = [EpochRecord(**fields) for fields in records]  # pyright: ignore
        state.unpack(found.tensors, self.parts, self.pruner, rounds=self.rounds, event=found.facts.get("event"))
        self.observer.restore(state.under(state.OBSERVED, found.tensors))
        self.best.restore(state.under(state.BEST, found.tensors), self.parts.model)
        state.set_scale(self.parts, found.facts.get("scale"))
        if "pending" in found.facts:  # trained up to here, and nothing done yet after the epoch
            self._after_epoch(state.moment(cast("dict[str, object]", found.facts["pending"]), self.parts))
        else:
            self.observer.follow(found.epoch)
        return found.epoch

    def _at_start(self, now: State) -> None:
        if now.iteration == 0:
            self.listen(Event(self.spec.run_id, "progress", "begins", 0, self.spec.epochs))
            self._write(self.observer.dense(0))
            if self.spec.prune is not None and self.spec.prune.at == "init" and self.pruner is not None:
                self._write(prune_at_init(self.spec, self.parts, self.pruner))
                self.rounds = 1
            self._write(self.observer.flow(0))
            self.observer.follow(0)

    def _after_epoch(self, now: State) -> None:
        """Cut where it is time, record the network as it goes on, and save."""
        self._write(self.observer.followed())
        if self.prefix is not None and now.epoch == self.spec.first_cut:
            self.prefix.take(self._checkpoint(now.epoch, pending=state.told(now)), self.folder.rows)
            self.leave()
        if self.spec.retrains:
            self._record(now)  # before the cut: it may be the network that is cut
        if self.rounds == 0:
            self._write(self.observer.dense(now.epoch))
        cut = self._cut(now.epoch)
        if not self.spec.retrains:
            self._record(now)
        self._write(self.observer.flow(now.epoch, always=cut))
        self.observer.follow(now.epoch)
        if cut or now.epoch % self.spec.record.checkpoint == 0 or now.epoch == self.spec.epochs:
            self.folder.checkpoints.save(self._checkpoint(now.epoch))
        accuracy = f"test accuracy {self.recorder.records[-1].test_accuracy:.3f}"
        self.listen(Event(self.spec.run_id, "progress", accuracy, now.epoch, self.spec.epochs))

    def _record(self, now: State) -> None:
        self.recorder(now)
        self._write([recording.epoch_row(self.recorder.records[-1])])
        if self.spec.retrains and self.rounds == 0:
            self.best.look(self.parts.model, self.recorder.records)

    def _cut(self, epoch: int) -> bool:
        plan = self.spec.prune
        if plan is None or self.pruner is None or self.pruner.done or not self.spec.may_cut(epoch):
            return False
        if self.spec.retrains:
            self.best.put_back(self.parts.model)
        agreement = self.spec.record.agreement
        if epoch == self.spec.first_cut and agreement:
            self._write(agreement_rows(self.parts, agreement, epoch, sparsity=plan.sparsity))
        if self.spec.retrains:
            observed = self.spec.record.cuts != "none"
            self._write(prune_trained(self.parts, self.pruner, epoch, self.recorder.records, observed=observed))
        else:
            turn, event = self.rounds + 1, plan.when
            self._write(recording.cut_rows(self.parts, self.pruner, epoch, turn=turn, event=event))
        if self.pruner.waiting:
            return False
        self.rounds, self.cut_at = plan.rounds if self.spec.retrains else self.rounds + 1, epoch
        if self.pruner.done and self.pruner.masks is not None:
            dense = build_model(self.spec, self.parts.dataset)
            example = None if self.pruner.masks.channelwise else self.parts.example_inputs
            self._write(collapse_rows(collapse(dense, self.pruner.masks, example_inputs=example), epoch=epoch))
        return True

    def _write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.folder.rows.append(row)

    def _checkpoint(self, epoch: int, **more: object) -> Checkpoint:
        masks = self.pruner.masks if self.pruner else None
        facts = {
            "rounds": self.rounds,
            "cut_at": self.cut_at,
            "records": [asdict(record) for record in self.recorder.records],
            "scale": state.scale_of(self.parts),
            "event": self.pruner.event.state() if self.pruner and self.pruner.event else None,
            **more,
        }
        anchor = self.pruner.anchor if self.pruner else None
        tensors = state.pack(self.parts.model, self.parts.optimizer, masks, anchor)
        observed = {f"{state.OBSERVED}{name}": value for name, value in self.observer.tensors().items()}
        best = {f"{state.BEST}{name}": value for name, value in self.best.tensors().items()}
        return Checkpoint(epoch, {**tensors, **observed, **best}, facts)
