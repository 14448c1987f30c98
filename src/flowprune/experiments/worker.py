"""A process that stays alive over several runs, so that torch is imported once."""

from __future__ import annotations

import os
import signal
import traceback
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from flowprune.experiments.events import Event, Listener
from flowprune.experiments.spec import Spec

Task = tuple[Spec, Path]


def serve(connection: Connection, target: str) -> None:
    """Take tasks from ``connection`` and run ``target`` on each, until None comes or the other end is gone.

    Sends an :class:`Event` for each thing said and, last for each task, ``(run id, error or None)``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; the spec's threads are set per run
    module, attribute = target.split(":")
    try:
        while (task := cast("Task | None", connection.recv())) is not None:
            spec, root = task
            connection.send((spec.run_id, _attempt(module, attribute, spec, root, connection.send)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone: nobody is left to work for


def _attempt(module: str, attribute: str, spec: Spec, root: Path, listen: Listener) -> str | None:
    """Run one task; the error as text, because an exception may not survive pickling."""
    try:
        getattr(import_module(module), attribute)(spec, root, listen=listen)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        folder = root / spec.run_id
        if folder.is_dir():
            (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return f"{type(error).__name__}: {error}"
    return None


def said(message: object) -> Event | tuple[str, str | None]:
    """The message of a worker, with its type."""
    return cast("Event | tuple[str, str | None]", message)
