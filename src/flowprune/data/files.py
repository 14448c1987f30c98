"""Finding the files of a published data set on this machine."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "FLOWPRUNE_DATA"
OFFLINE = "FLOWPRUNE_OFFLINE"


@dataclass(frozen=True)
class Layout:
    """One form in which a set is published.

    Attributes:
        folders: Where it may lie below the data folder, tried in this order; "." is the data folder itself.
        files: What must be there; a name that ends in "/" is a folder.
        packable: Whether each file may have ``.gz`` after its name.
    """

    folders: tuple[str, ...]
    files: tuple[str, ...]
    packable: bool = False

    def is_in(self, folder: Path) -> bool:
        """Whether all files are there."""
        return not self.missing(folder)

    def missing(self, folder: Path) -> list[str]:
        """The files that are not there, in order."""
        return [name for name in self.files if not self._there(folder, name)]

    def _there(self, folder: Path, name: str) -> bool:
        if name.endswith("/"):
            return (folder / name).is_dir()
        return (folder / name).is_file() or (self.packable and (folder / f"{name}.gz").is_file())


@dataclass(frozen=True)
class Found:
    """Where a set lies.

    Attributes:
        name: Of the set.
        root: The data folder.
        folder: Where the files are.
        layout: The form they are in.
    """

    name: str
    root: Path
    folder: Path
    layout: Layout

    @property
    def remedy(self) -> str:
        """What to do about a damaged file."""
        return f"Delete it and run: {command(self.name, self.root)}"

    @property
    def whole_remedy(self) -> str:
        """What to do about a set of which parts are damaged or missing."""
        return f"Delete the folder {self.folder} and run: {command(self.name, self.root)}"


def data_root(data_dir: str | Path | None) -> Path:
    """The data folder: the one that was named, else the variable FLOWPRUNE_DATA, else the user's cache.

    Example:
        >>> data_root("datasets").name
        'datasets'
    """
    named = data_dir if data_dir is not None else os.environ.get(VARIABLE)
    return Path(named or default_root()).expanduser()


def default_root() -> Path:
    """``$XDG_CACHE_HOME/flowprune``, or ``~/.cache/flowprune``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowprune"


def offline() -> bool:
    """Whether FLOWPRUNE_OFFLINE forbids the network: it is set, and not to 0."""
    return os.environ.get(OFFLINE, "") not in ("", "0")


def command(name: str, root: Path) -> str:
    """The command line that downloads a set to where it is looked for.

    Example:
        >>> command("mnist", Path("my data"))
        "flowprune download mnist --data-dir 'my data'"
    """
    usual = root == default_root() and not os.environ.get(VARIABLE)
    place = "" if usual else f" --data-dir {shlex.quote(str(root))}"
    return f"flowprune download {name}{place}"


def find(name: str, root: Path, layouts: Sequence[Layout]) -> Found | None:
    """The first folder that holds all the files of a layout."""
    for layout in layouts:
        for folder in layout.folders:
            if layout.is_in(root / folder):
                return Found(name, root, root / folder, layout)
    return None


def looked_for(root: Path, layouts: Iterable[Layout]) -> str:
    """What was not found, for a message: the files that the fullest folder lacks, or all where none has any.

    Example:
        >>> looked_for(Path("data"), [Layout(("mnist", "."), ("images", "labels"))])
        'the files images, labels; looked in data/mnist, data'
    """
    layouts = list(layouts)
    tried = [(root / folder, layout) for layout in layouts for folder in layout.folders]
    folder, fullest = max(tried, key=lambda each: _there(*each) / len(each[1].files))
    if there := _there(folder, fullest):
        missing = fullest.missing(folder)
        files = f"the file{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        return f"{files} in {folder}, where the other {'one is' if there == 1 else f'{there} are'}"
    files = ", or ".join(", ".join(layout.files) for layout in layouts)
    return f"the files {files}; looked in {', '.join(dict.fromkeys(str(folder) for folder, _ in tried))}"


def _there(folder: Path, layout: Layout) -> int:
    """How many of a layout's files a folder holds."""
    return len(layout.files) - len(layout.missing(folder))
