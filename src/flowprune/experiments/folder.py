"""The folder of a run: its spec, its surroundings, its rows, its checkpoints, and the mark that it is done."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from flowprune.core.errors import PruningError
from flowprune.core.files import checksum, read_json, write_json
from flowprune.experiments.checkpoints import Checkpoints
from flowprune.experiments.rows import Rows
from flowprune.experiments.spec import Spec, parse

LATENCY = (
    "latency_ms",
    "latency_ms_dense",
    "latency_iqr_ms",
    "latency_iqr_ms_dense",
    "latency_batch",
    "latency_threads",
)
"""What is measured after the runs, when the machine is quiet, and so is not among the rows; see ``latency.py``."""

FILES = ("spec.json", "environment.json", "rows.jsonl", "plan.json", "plan.safetensors", "model.safetensors")
"""What is sealed when a run ends."""


class RunFolder:
    """``<root>/<run id>``, where everything that a run leaves behind stands.

    ``spec.json``, ``environment.json``, ``rows.jsonl``, ``checkpoints/``, the plan of the model (``plan.json``,
    ``model.safetensors``) and, once all of that is on the disk, ``DONE`` with the checksums of the other files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = Rows(path / "rows.jsonl")
        self.checkpoints = Checkpoints(path / "checkpoints", self.rows)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def spec(self) -> Spec:
        """The spec that the folder was made for.

        Raises:
            ValueError: ``spec.json`` is damaged.
        """
        fields = read_json(self.path / "spec.json")
        return parse(cast("dict[str, object]", fields.get("spec", {})), where=str(self.path / "spec.json"))

    @property
    def finished(self) -> bool:
        """Whether the run ended and said so."""
        return (self.path / "DONE").exists()

    @property
    def latency(self) -> dict[str, float] | None:
        """What ``latency.json`` holds; None where it is not there or damaged, as it can be measured again."""
        try:
            found = read_json(self.path / "latency.json")
        except (ValueError, OSError):
            return None
        numbers: dict[str, float] = {name: value for name, value in found.items() if isinstance(value, int | float)}
        return numbers if set(LATENCY) <= set(numbers) else None

    def damaged(self) -> list[str]:
        """The files of a finished run that are not what they were when it ended."""
        try:
            files = cast("dict[str, str]", read_json(self.path / "DONE").get("files", {}))
        except ValueError:
            return ["DONE"]
        return [name for name, expected in files.items() if not self._is(name, expected)]

    def finish(self) -> None:
        """Write ``DONE``, the last act of a run."""
        (self.path / "error.txt").unlink(missing_ok=True)  # of an earlier attempt
        files = {name: checksum(self.path / name) for name in FILES if (self.path / name).exists()}
        write_json(self.path / "DONE", {"files": files})

    def reopen(self, tell: Callable[[str], None]) -> None:
        """Take back ``DONE`` from a folder with damaged files, so that the run goes on from its last good state."""
        tell(f"{self.path} is damaged ({', '.join(self.damaged())}): the run goes on from its last good checkpoint.")
        (self.path / "DONE").unlink(missing_ok=True)

    def write_environment(self, fields: Mapping[str, object]) -> None:
        """Store what the run was made with: versions, hardware, threads."""
        write_json(self.path / "environment.json", fields)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder; the system lets go of it when the process ends, however it ends.

        Raises:
            PruningError: another process holds it.
        """
        import fcntl

        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PruningError(
                    f"{self.path} is in use by another process. Wait for it to end, or stop it."
                ) from None
            yield

    def _is(self, name: str, expected: str) -> bool:
        return (self.path / name).exists() and checksum(self.path / name) == expected


def open_folder(spec: Spec, root: Path, tell: Callable[[str], None]) -> RunFolder:
    """The folder of a spec under ``root``, made where it is new.

    Raises:
        ValueError: it holds a run of another spec.
    """
    folder = RunFolder(root / spec.run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    stored = folder.path / "spec.json"
    if stored.exists():
        try:
            found = folder.spec
        except ValueError as error:
            tell(f"{error} It is written again: the folder's name is the hash of this spec.")
        else:
            if found != spec:
                raise ValueError(
                    f"run(root=) must hold a folder {spec.run_id} of this spec; got one of another spec "
                    f"(run id {found.run_id}). Move {folder.path} away, or choose another root."
                )
            return folder
    write_json(stored, {"version": spec.version, "run": spec.run_id, "spec": spec.model_dump(mode="json")})
    return folder


def folders(root: Path | str) -> list[RunFolder]:
    """Every run folder below ``root``, or ``root`` itself where it is one, in order of name.

    Raises:
        ValueError: there is none.
    """
    root = Path(root)
    found = sorted({path.parent for path in root.glob("**/spec.json")})
    if not found:
        raise ValueError(f"folders(root=) must be a run folder or hold some; got {str(root)!r}. Run something first.")
    return [RunFolder(path) for path in found]
