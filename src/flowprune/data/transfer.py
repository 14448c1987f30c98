"""One file over HTTP: resumed where it stopped, and given its name only when its checksum is right."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from flowprune.core.errors import invalid
from flowprune.core.version import __version__
from flowprune.data.origins import Remote

PATIENCE = 10.0
"""Seconds without an answer, or without a further byte, after which the server is given up."""
BLOCK = 1 << 20
NETWORK = (URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError)
"""What goes wrong on the way, in contrast to a full disk or a folder that cannot be written."""
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416


@dataclass(frozen=True)
class Download:
    """How far the download of one file is.

    Attributes:
        file: Its name.
        done: Bytes that are here.
        total: Bytes in all.
    """

    file: str
    done: int
    total: int


Listener = Callable[[Download], None]


def fetch(remote: Remote, path: Path, listen: Listener) -> None:
    """Download a file to ``path`` by way of ``path.part``, which a later call goes on from.

    A connection that breaks is taken up again at once, as long as each attempt brings something.

    Raises:
        ConnectionError: no server, no file on it, or a connection that does not last; the part stays.
        ValueError: the checksum is wrong; the part is removed.
    """
    part = path.with_name(f"{path.name}.part")
    while (before := _size(part)) != remote.size:
        try:
            _receive(remote, part, listen)
            break
        except NETWORK as error:
            if _size(part) > before:
                continue
            raise _failed(remote, part, error) from error
    require_checksum(remote, part, path)
    part.replace(path)


def require_checksum(remote: Remote, file: Path, path: Path) -> None:
    """Raise where a file is not the published one; a part of a download is removed then, a whole file never.

    Raises:
        ValueError: naming ``path``, the checksum it should have and the one that was found.
    """
    with file.open("rb") as content:
        found = hashlib.file_digest(content, lambda: hashlib.new(remote.algorithm, usedforsecurity=False)).hexdigest()
    if found == remote.digest:
        return
    todo = f"{remote.url} did not give what it should; try again later."
    if file == path:
        todo = f"Delete it, and it is downloaded anew from {remote.url}."
    else:
        file.unlink()
    raise invalid(f"the file {path}", f"of the {remote.algorithm} {remote.digest}", found, todo)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _failed(remote: Remote, part: Path, error: BaseException) -> ConnectionError:
    reason = error.reason if type(error) is URLError else error  # an HTTPError says more than its reason
    here = f" ({_size(part):,} of {remote.size:,} bytes are here, and the next attempt goes on from them)"
    return ConnectionError(
        f"{remote.url} could not be downloaded: {reason}{here if _size(part) else ''}. Try again, or get the file in "
        f"another way and put it at {part.with_suffix('')}."
    )


def _receive(remote: Remote, part: Path, listen: Listener) -> None:
    """Add to a part what it lacks, or write it anew where the server does not send the rest alone."""
    if _size(part) > remote.size:
        part.unlink()
    begin, answer = _rest(remote.url, _size(part))
    part.parent.mkdir(parents=True, exist_ok=True)  # not before there is something to put into it
    with answer, part.open("ab") as file:
        file.truncate(begin)
        done = begin
        length = answer.headers.get("Content-Length")
        end = done + int(length) if length else None
        listen(Download(remote.name, done, remote.size))
        while block := answer.read(BLOCK):
            done += file.write(block)
            if done > remote.size:
                break  # not the published file, whatever follows
            listen(Download(remote.name, done, remote.size))
        file.flush()
        os.fsync(file.fileno())  # the data reach the disk before the name does
    if end is not None and done < end:
        raise ConnectionError(f"the connection ended after {done:,} of {end:,} bytes")


def _rest(url: str, begin: int) -> tuple[int, HTTPResponse]:
    """The rest of a file from byte ``begin`` on or, from a server that does not send it, the whole from 0 on."""
    try:
        answer = _ask(url, begin)
    except HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE:
            raise
        return 0, _ask(url, 0)  # the file on the server is not longer than the part
    if answer.status != PARTIAL_CONTENT:
        return 0, answer
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if found is not None and int(found[1]) == begin:
        return begin, answer
    answer.close()  # another part than was asked for
    return 0, _ask(url, 0)


def _ask(url: str, begin: int) -> HTTPResponse:
    """The answer to a request for a file, from byte ``begin`` on; no answer in :data:`PATIENCE` is an error.

    Asked in a thread, because the look-up of a name knows no timeout.
    """
    headers = {"User-Agent": f"flowprune/{__version__}", **({"Range": f"bytes={begin}-"} if begin else {})}
    request = Request(url, headers=headers)
    answers: SimpleQueue[HTTPResponse | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(cast(HTTPResponse, urlopen(request, timeout=PATIENCE)))
        except Exception as error:
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=PATIENCE)
    except Empty:
        raise TimeoutError(f"no answer within {PATIENCE:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
