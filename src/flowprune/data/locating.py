"""A published set on this machine: found, or downloaded, or missed with all that is known about it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from flowprune.data.downloading import download
from flowprune.data.files import OFFLINE, VARIABLE, Found, Layout, command, data_root, find, looked_for, offline
from flowprune.data.origins import ORIGINS
from flowprune.data.transfer import Download


def locate(name: str, data_dir: str | Path | None, layouts: Sequence[Layout]) -> Found:
    """Where a set lies below ``data_dir``, the folder of the variable FLOWPRUNE_DATA, or the user's cache.

    What is not there is downloaded there, unless the variable FLOWPRUNE_OFFLINE is set; a warning says so.

    Raises:
        FileNotFoundError: it is not there and could not be downloaded; the message names the files and folders
            looked for, the reason, and the command that downloads it.
    """
    root = data_root(data_dir)
    reason = f"It was not downloaded, because {OFFLINE} is set."
    found = find(name, root, layouts)
    if found is None and not offline():
        try:
            download(name, root, listen=_Announcement(name, root))
        except (OSError, ValueError) as error:
            reason = str(error)
        else:
            found = find(name, root, layouts)
    if found is None:
        raise FileNotFoundError(
            f"{name}(data_dir=) must find {looked_for(root, layouts)}. {reason} "
            f"Run: {command(name, root)}, or name the folder that holds it by data_dir=, --data-dir or {VARIABLE}."
        )
    return found


class _Announcement:
    """A listener that warns once, when the first bytes have come."""

    def __init__(self, name: str, root: Path) -> None:
        self._text: str | None = (
            f"{name} is not in {root} and is downloaded there, {ORIGINS[name].size / 1e6:.0f} MB; "
            f"{OFFLINE}=1 would forbid that."
        )

    def __call__(self, progress: Download) -> None:
        if self._text is not None:
            warnings.warn(self._text, stacklevel=2)
            self._text = None
