"""Stand-ins for the real job, importable by worker processes; none imports torch."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from flowprune.experiments.events import Event, Listener
from flowprune.experiments.folder import open_folder
from flowprune.experiments.spec import Spec


def quick(spec: Spec, root: Path, *, listen: Listener) -> None:
    """A run of one row, which says its process; seed 13 fails, 14 dies, 15 hangs."""
    folder = open_folder(spec, root, lambda text: listen(Event(spec.run_id, "note", text)))
    if spec.seed == 13:
        raise ValueError("unlucky")
    if spec.seed == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    if spec.seed == 15:
        time.sleep(600)
    where = f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}".strip()
    listen(Event(spec.run_id, "progress", where, 1, 1))
    folder.rows.append({"kind": "result", "test_accuracy_final": 0.5 + spec.seed / 100})
    folder.finish()


def slow(spec: Spec, root: Path, *, listen: Listener) -> None:
    """A run long enough for others to begin beside it."""
    time.sleep(1.0)
    quick(spec, root, listen=listen)
