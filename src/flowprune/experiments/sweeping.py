"""Many runs over local processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from flowprune.core.errors import invalid
from flowprune.experiments.events import Event, Listener, warn
from flowprune.experiments.folder import RunFolder
from flowprune.experiments.machine import VISIBLE, cores, require_machine, require_writable, visible_devices
from flowprune.experiments.prefix import Prefix, forget
from flowprune.experiments.spec import Spec
from flowprune.experiments.worker import said, serve

RUN = "flowprune.experiments.job:run_shared"


@dataclass(frozen=True)
class Sweep:
    """What became of the runs.

    Attributes:
        finished: Folders of the runs that ended, now or before.
        failed: The error of each run that did not, by run id.
    """

    finished: tuple[RunFolder, ...]
    failed: dict[str, str]


@dataclass
class _Worker:
    """A living process, the near end of its pipe, and what it works on."""

    process: BaseProcess
    pipe: Connection
    device: str | None = None
    spec: Spec | None = None


@dataclass
class _State:
    root: Path
    listen: Listener
    target: str
    waiting: deque[Spec]
    devices: tuple[str, ...] = ()
    workers: list[_Worker] = field(default_factory=list[_Worker])
    failed: dict[str, str] = field(default_factory=dict[str, str])


def sweep(
    specs: Sequence[Spec],
    root: Path | str,
    *,
    jobs: int | None = None,
    jobs_per_device: int | None = None,
    listen: Listener = warn,
    target: str = RUN,
) -> Sweep:
    """Run every spec, ``jobs`` at a time, each in a process of its own.

    Small networks leave most of a large GPU idle: several of them side by side on each do not, with
    ``jobs_per_device``. Each process then sees one device alone, so a spec says just ``device = "cuda"``.

    A run that fails, or whose process dies, is reported and the others go on. Runs that finished before are
    skipped, interrupted ones go on from their checkpoint: the same call twice does the work once. Ctrl-C stops
    the processes and is raised again; what was finished stays.

    Args:
        specs: What to run; equal ones are run once.
        root: Where the run folders are.
        jobs: Processes at a time; by default one per core.
        jobs_per_device: Instead of ``jobs``: processes at a time on each visible CUDA device.
        listen: Hears what the runs say.
        target: ``"module:function"`` called as ``function(spec, root, listen=...)`` for each.

    Raises:
        ValueError: no specs, fewer than one job, both numbers of jobs, no device to share, a root that cannot be
            written, or more threads or another device than there are.
    """
    if not specs:
        raise invalid("sweep(specs=)", "at least one spec", [])
    devices, count = _places(jobs, jobs_per_device)
    root = Path(root)
    require_writable("sweep(root=)", root, folder=True)
    unique = {spec.run_id: spec for spec in specs}
    state = _State(root, listen, target, deque(_unfinished(unique.values(), root, listen)), devices)
    for spec in state.waiting:
        require_machine(spec)
    try:
        for _ in range(min(count, len(state.waiting))):
            _hire(state)
        while any(worker.spec for worker in state.workers):
            for worker in _ready(state.workers):
                _hear(state, worker)
    finally:
        for worker in state.workers:
            _dismiss(worker)
    if not state.failed:
        forget(root, unique.values())
    done = (RunFolder(root / run) for run in unique if run not in state.failed)
    return Sweep(tuple(done), state.failed)


def _places(jobs: int | None, per_device: int | None) -> tuple[tuple[str, ...], int]:
    """The devices that processes are told apart by, none where they are not, and how many processes there are."""
    for name, value in (("jobs", jobs), ("jobs_per_device", per_device)):
        if value is not None and value < 1:
            raise invalid(f"sweep({name}=)", ">= 1", value)
    if per_device is None:
        return (), jobs or cores()
    if jobs is not None:
        raise invalid("sweep(jobs=, jobs_per_device=)", "not both given", (jobs, per_device))
    devices = visible_devices()
    if not devices:
        raise invalid("sweep(jobs_per_device=)", "given where there is a CUDA device", per_device, "Use jobs= instead.")
    return devices, per_device * len(devices)


def _unfinished(specs: Iterable[Spec], root: Path, listen: Listener) -> Iterator[Spec]:
    for spec in specs:
        folder = RunFolder(root / spec.run_id)
        if folder.finished and not folder.damaged():
            listen(Event(spec.run_id, "skipped", "finished before"))
        else:
            yield spec


@contextmanager
def _interrupts_ignored() -> Generator[None]:
    """A process inherits an ignored Ctrl-C, so a starting worker does not die of it with a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _seeing(device: str | None) -> Generator[None]:
    """A process started inside sees one device alone; this one goes on seeing all."""
    before = os.environ.get(VISIBLE)
    if device is not None:
        os.environ[VISIBLE] = device
    try:
        yield
    finally:
        if device is not None and before is None:
            del os.environ[VISIBLE]
        elif before is not None:
            os.environ[VISIBLE] = before


def _hire(state: _State) -> None:
    """Start a process, on the device that has fewest, and give it the next spec."""
    context = multiprocessing.get_context("spawn")  # fork would copy a torch that has threads
    near, far = context.Pipe()
    busy = [worker.device for worker in state.workers]
    device = min(state.devices, key=busy.count, default=None)
    process = context.Process(target=serve, args=(far, state.target), daemon=True)
    with _interrupts_ignored(), _seeing(device):
        process.start()
    far.close()
    worker = _Worker(process, near, device)
    state.workers.append(worker)
    _assign(state, worker)


def _assign(state: _State, worker: _Worker) -> None:
    worker.spec = _next(state)
    if worker.spec is not None:
        state.listen(Event(worker.spec.run_id, "start", total=worker.spec.epochs))
        worker.pipe.send((worker.spec, state.root))


def _next(state: _State) -> Spec | None:
    """The next run: the first that need not wait for a beginning that another process is training just now."""
    if not state.waiting:
        return None
    busy = {prefix.path for worker in state.workers if (prefix := _unstored(worker.spec, state.root))}
    chosen = next((s for s in state.waiting if (p := _unstored(s, state.root)) is None or p.path not in busy), None)
    spec = state.waiting[0] if chosen is None else chosen
    state.waiting.remove(spec)
    return spec


def _unstored(spec: Spec | None, root: Path) -> Prefix | None:
    """The shared beginning of a run, where it is not there yet."""
    prefix = None if spec is None else Prefix.of(spec, root)
    return None if prefix is None or prefix.stored else prefix


def _ready(workers: Sequence[_Worker]) -> list[_Worker]:
    """Workers that said something or died, which their pipe tells as well."""
    readable = wait([worker.pipe for worker in workers if worker.spec])
    return [worker for worker in workers if worker.pipe in readable]


def _hear(state: _State, worker: _Worker) -> None:
    try:
        message = said(worker.pipe.recv())
    except (EOFError, ConnectionResetError):
        _bury(state, worker)
        return
    if isinstance(message, Event):
        state.listen(message)
        return
    run, error = message
    _report(state, run, error)
    _assign(state, worker)


def _bury(state: _State, worker: _Worker) -> None:
    """A process died under a run: that run failed, and another process takes its place."""
    worker.process.join()
    if worker.spec is not None:
        _report(state, worker.spec.run_id, f"its process ended with exit code {worker.process.exitcode}")
    state.workers.remove(worker)
    if state.waiting:
        _hire(state)


def _report(state: _State, run: str, error: str | None) -> None:
    if error is None:
        state.listen(Event(run, "done"))
    else:
        state.failed[run] = error
        state.listen(Event(run, "failed", error))


def _dismiss(worker: _Worker) -> None:
    """End a process: an idle one by hanging up, a busy one by force (its folder survives that)."""
    worker.pipe.close()
    if worker.spec is not None:
        worker.process.terminate()
    worker.process.join(5)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
