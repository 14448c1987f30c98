"""Where the data lie: said on the command line, and heard by this process and its workers."""

from __future__ import annotations

import os
from pathlib import Path

from flowprune.core.errors import invalid
from flowprune.data.files import VARIABLE


def use_data_dir(path: Path | None) -> None:
    """Set FLOWPRUNE_DATA to a folder; None leaves it as it is.

    A variable rather than a field of a spec: where the data lie is no part of what a run is.

    Raises:
        ValueError: there is no such folder.
    """
    if path is None:
        return
    if not path.expanduser().is_dir():
        todo = "Make it, or fill it with: flowprune download NAME --data-dir DIR"
        raise invalid("--data-dir", "a folder", str(path), todo)
    os.environ[VARIABLE] = str(path.expanduser().absolute())
