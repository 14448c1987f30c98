"""Archives, unpacked whole or not at all, and never outside their folder."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from flowprune.core.errors import invalid
from flowprune.data.files import Layout


def unpack(archive: Path, root: Path, layout: Layout) -> None:
    """Put the first folder of a layout, which the archive holds, into ``root``.

    It is unpacked beside and then renamed. Where the folder is there already, the files that it lacks are added,
    and no other is touched.

    Raises:
        ValueError: the archive is damaged, holds a path that leads outside, or lacks the files of the layout.
    """
    folder = layout.folders[0]
    with _beside(root, folder) as place:
        _extract(archive, place)
        made, target = place / folder, root / folder
        if missing := layout.missing(made):
            raise invalid(f"the archive {archive}", f"one that holds {folder}/", f"none with {', '.join(missing)}")
        if not target.exists():
            made.rename(target)
            return
        for name in layout.missing(target):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).rename(target / name)


@contextmanager
def _beside(root: Path, folder: str) -> Generator[Path]:
    """A folder of its own in ``root``, on the same disk, so that what is in it can be renamed to its place."""
    place = Path(tempfile.mkdtemp(prefix=f".{folder}.", suffix=".part", dir=root))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _extract(archive: Path, place: Path) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                _require_inside(archive, packed.namelist())
                packed.extractall(place)
        else:
            with tarfile.open(archive) as packed:
                packed.extractall(place, filter="data")
    except (tarfile.TarError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise invalid(f"the archive {archive}", "whole and harmless", str(error), "Nothing was unpacked.") from error


def _require_inside(archive: Path, names: list[str]) -> None:
    """Raise where a path is absolute or climbs; ``zipfile`` would quietly put it elsewhere."""
    for name in names:
        path = PureWindowsPath(name)  # takes both kinds of separators, and drives
        if path.is_absolute() or path.drive or path.root or ".." in path.parts:
            raise invalid(f"the archive {archive}", "of paths inside it", name, "Nothing was unpacked.")
