"""Published sets, downloaded when they are asked for."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from flowprune.core.errors import unknown
from flowprune.data.files import OFFLINE, data_root, offline
from flowprune.data.origins import ORIGINS, Origin, Remote
from flowprune.data.transfer import Download, Listener, fetch, require_checksum
from flowprune.data.unpacking import unpack


def download(name: str, data_dir: str | Path | None = None, *, listen: Listener | None = None) -> Path:
    """Download a published set, check it against its checksums, and unpack it; what is there already is left alone.

    An interrupted download is taken up where it stopped. An archive that lies in the data folder under its own name
    (:data:`~flowprune.data.origins.ORIGINS`) is used instead of the network. Archives stay after unpacking.

    Args:
        name: ``cifar10``, ``cifar100``, ``mnist``, ``fashion_mnist`` or ``tiny_imagenet``.
        data_dir: The folder to put it in; None takes the variable FLOWPRUNE_DATA or, where that is not set,
            ``$XDG_CACHE_HOME/flowprune`` or ``~/.cache/flowprune``.
        listen: Hears how far each file is.

    Returns:
        The folder of the set, below the data folder.

    Raises:
        UnknownNameError: a set that cannot be downloaded.
        ConnectionError: no server, or FLOWPRUNE_OFFLINE is set; what has come so far stays as a ``.part`` file.
        ValueError: a file has another checksum than the published one, or an archive is damaged.
    """
    if name not in ORIGINS:
        raise unknown("download(name=)", name, ORIGINS)
    origin, root = ORIGINS[name], data_root(data_dir)
    folder = root / origin.folder
    if not origin.layout.is_in(folder):
        with _alone(root):
            _complete(origin, root, listen or _silence)
    return folder


def _complete(origin: Origin, root: Path, listen: Listener) -> None:
    """Bring what the folder lacks; another process may have brought it while this one waited."""
    folder = root / origin.folder
    if origin.layout.is_in(folder):
        return
    if not origin.packed:
        lacking = set(origin.layout.missing(folder))
        for remote in origin.remotes:
            if remote.name.removesuffix(".gz") in lacking:
                _bring(remote, folder / remote.name, listen)
        return
    (remote,) = origin.remotes
    archive = root / remote.name
    if archive.exists():
        require_checksum(remote, archive, archive)
    else:
        _bring(remote, archive, listen)
    unpack(archive, root, origin.layout)


def _bring(remote: Remote, path: Path, listen: Listener) -> None:
    if offline():
        raise ConnectionError(
            f"{remote.url} was not downloaded, because {OFFLINE} is set. Unset it, or put the file at {path}."
        )
    fetch(remote, path, listen)


def _silence(progress: Download) -> None:
    """The listener of those who do not listen."""


@contextmanager
def _alone(root: Path) -> Generator[None]:
    """Wait until no other process of this user downloads into the folder; the system lets go when a process ends.

    The lock lies outside the folder, which is not made before something comes. Processes on several machines that
    share the folder may still get in each other's way; the checksum tells.
    """
    import fcntl

    key = hashlib.sha256(str(root.absolute()).encode()).hexdigest()[:16]
    with Path(tempfile.gettempdir(), f"flowprune-{os.getuid()}-{key}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
