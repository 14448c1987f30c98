"""Decoded images, kept beside their files so that they are decoded once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import PIL

from flowprune.data.decoding import Form, decode

FOLDER = ".flowprune"
VERSION = 1
"""Part of the key. Raise it when the same files would be decoded into another array."""


def decoded(root: Path, files: Sequence[Path], form: Form) -> np.ndarray:
    """The images of the files, from the cache where it holds them, else decoded and put there.

    The cache is ``root/.flowprune/<form>-<key>.npy``. The key covers path, size and time of every file, the form, and
    Pillow's version, so a cache of other files is never used. Where ``root`` cannot be written, nothing is kept.

    Shapes: n files below ``root`` -> uint8 (n, channels, h, w).

    Raises:
        ValueError: as :func:`~flowprune.data.decoding.decode`.
    """
    head = f"{form.size or 'own'}-{form.channels or 'own'}"
    path = root / FOLDER / f"{head}-{key(root, files, form)}.npy"
    pixels = _load(path, len(files))
    if pixels is None:
        pixels = decode(files, form)
        _keep(path, pixels, head)
    return pixels


def key(root: Path, files: Sequence[Path], form: Form) -> str:
    """Sixteen hexadecimal digits that change when a file is added, removed, renamed or written, or the form changes."""
    digest = hashlib.sha256(f"{VERSION} {PIL.__version__} {form.size} {form.channels}".encode())
    for file in files:
        facts = file.stat()
        digest.update(f"\n{file.relative_to(root).as_posix()} {facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _load(path: Path, count: int) -> np.ndarray | None:
    """The kept images, mapped into memory and never written back; None where there are none or they are damaged."""
    try:
        pixels = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    sound = pixels.dtype == np.uint8 and pixels.ndim == 4 and len(pixels) == count
    return np.asarray(pixels) if sound else None


def _keep(path: Path, pixels: np.ndarray, head: str) -> None:
    """Write the cache, whole or not at all, and remove those of the same form that it replaces."""
    part = path.with_name(f".{path.stem}.{uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        try:
            with part.open("xb") as file:
                np.save(file, pixels)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        for other in path.parent.glob(f"{head}-*.npy"):
            if other != path:
                other.unlink(missing_ok=True)
    except OSError:
        return  # a folder that cannot be written, or a full disk: the images are decoded anew next time
