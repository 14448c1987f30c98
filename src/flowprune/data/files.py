"""Finding the files of a dataset on this machine; nothing is ever downloaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "FLOWPRUNE_DATA"


def find_folder(where: str, data_dir: str | Path | None, *, folders: Sequence[str], files: Sequence[str]) -> Path:
    """The first of ``data_dir``/folder that holds all ``files`` (each, or with ``.gz`` after its name).

    ``data_dir`` None means the environment variable FLOWPRUNE_DATA.

    Raises:
        FileNotFoundError: no such folder; the message names what was looked for, and where.
    """
    root = data_dir if data_dir is not None else os.environ.get(VARIABLE)
    if root is None:
        raise FileNotFoundError(
            f"{where} must be told where its files are; got neither data_dir= nor {VARIABLE}. "
            f"Set either to the folder that contains {folders[0]}/ ({', '.join(files)})."
        )
    candidates = [Path(root).expanduser() / folder for folder in folders]
    for folder in candidates:
        if all(_there(folder / file) for file in files):
            return folder
    looked = " and ".join(str(folder) for folder in candidates)
    raise FileNotFoundError(f"{where} must find the files {', '.join(files)}; looked in {looked}.")


def _there(path: Path) -> bool:
    return path.exists() or path.with_name(path.name + ".gz").exists()
