"""Runs that stopped with an error: what was asked and what was said, kept beside an archive's rows.

A run that cannot be done, because a layer would be emptied or the loss is no number, is a finding as well.
``failures.jsonl`` holds a line for each, in order of the run ids, and none of a run that was finished since.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flowprune.core.errors import PruningError
from flowprune.core.files import write
from flowprune.experiments.archive import Archive
from flowprune.experiments.folder import folders
from flowprune.experiments.spec import Spec, parse

FAILURES = "failures.jsonl"


@dataclass(frozen=True)
class Failure:
    """A run that stopped.

    Attributes:
        spec: What was asked for.
        error: The error's message, without the names of its class and without a traceback.
    """

    spec: Spec
    error: str

    @property
    def run(self) -> str:
        """The id of the run."""
        return self.spec.run_id


def failures(root: Path | str) -> tuple[Failure, ...]:
    """Runs below a root, a folder of run folders or an archive, that stopped and were not finished since.

    Raises:
        PruningError: the archive's file of them is damaged.
    """
    path = Path(root) / FAILURES
    if path.exists():
        return tuple(_failure(path, line) for line in path.read_text(encoding="utf-8").splitlines())
    if Archive.at(Path(root)):
        return ()
    stopped = [each for each in folders(root) if not each.finished and (each.path / "error.txt").exists()]
    return tuple(Failure(each.spec, _said((each.path / "error.txt").read_text(encoding="utf-8"))) for each in stopped)


def keep_failures(archive: Path, roots: Iterable[Path]) -> int:
    """Add failed runs to those of an archive, forget those that it has the rows of, and say how many there are.

    Raises:
        PruningError: a file is damaged.
    """
    found = {failure.run: failure for root in (archive, *roots) if Path(root).is_dir() for failure in failures(root)}
    answered = {record.spec.question for record in Archive(archive).records}
    kept = [found[run] for run in sorted(found) if found[run].spec.question not in answered]
    path = archive / FAILURES
    if kept:
        write(path, "".join(f"{_line(failure)}\n" for failure in kept).encode())
    else:
        path.unlink(missing_ok=True)
    return len(kept)


def _line(failure: Failure) -> str:
    return json.dumps({"run": failure.run, "error": failure.error, "spec": failure.spec.model_dump(mode="json")})


def _said(text: str) -> str:
    """The message at the end of a traceback."""
    last = text.rstrip().rpartition("\n")[2]
    name, colon, said = last.partition(": ")
    return said if colon and " " not in name else last


def _failure(path: Path, line: str) -> Failure:
    try:
        fields = json.loads(line)
        return Failure(parse(fields["spec"]), str(fields["error"]))
    except (ValueError, KeyError, TypeError) as error:
        raise PruningError(f"{path} is damaged: {error}. Restore it from version control.") from None
