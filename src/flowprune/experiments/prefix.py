"""The dense beginning that many runs share: trained once, stored under the hash of all it depends on.

Runs that differ in how they prune are the same dense run up to their first cut. The first of them to get there leaves
its state and its rows; the others copy both and go on from there. What they write is what they would have written
without it, times excepted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from flowprune.core.files import write
from flowprune.core.step import Step
from flowprune.experiments.checkpoints import Checkpoint, Checkpoints
from flowprune.experiments.folder import RunFolder
from flowprune.experiments.rows import Rows
from flowprune.experiments.spec import SPEC_VERSION, Spec

FOLDER = "prefixes"
SHARED = ("model", "data", "objective", "execution", "seed", "threads", "device")
OWN = ("agreement", "cuts", "checkpoint")
"""Fields of the record that change nothing before the first cut."""


def identity(spec: Spec) -> str | None:
    """Twelve hexadecimal digits over what the network and its rows depend on up to the first cut; None where none is.

    Example:
        >>> from flowprune.experiments.spec import override, parse
        >>> base = parse({"model": {"name": "mlp"}, "data": {"name": "digits"}, "prune": {"measure": "fisher"}})
        >>> identity(base) == identity(override(base, {"prune.measure": "magnitude", "train.epochs": "9ep"}))
        True
        >>> identity(base) == identity(override(base, {"seed": 1}))
        False
    """
    epochs = spec.first_cut
    if epochs is None:
        return None
    fields = spec.model_dump(mode="json")
    train, record = fields["train"], fields["record"]
    # A milestone after the prefix changes nothing in it; one in iterations may lie anywhere.
    early = {at: rate for at, rate in train["milestones"].items() if Step.parse(at).unit == "it" or _before(at, epochs)}
    shared = {
        **{name: fields[name] for name in SHARED},
        "train": {**{name: value for name, value in train.items() if name != "epochs"}, "milestones": early},
        "record": {name: value for name, value in record.items() if name not in OWN},
        "units": _units(spec),
        "epochs": epochs,
        "version": SPEC_VERSION,
        **({"kept": "best"} if spec.retrains else {}),
    }
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]


def _before(milestone: str, epochs: int) -> bool:
    return Step.parse(milestone).count < epochs


def _units(spec: Spec) -> object:
    """What records of units depend on besides: what a unit is, and the temperature at which it is scored."""
    record, cut = spec.record, spec.prune
    if cut is None or (record.track.every == "none" and not record.scatter.epochs):
        return None
    return [cut.granularity, cut.residual, cut.temperature, cut.measure if cut.temperature == "published" else None]


class Prefix:
    """The stored beginning of some runs, in ``<root>/prefixes/<identity>``.

    Args:
        root: The folder of the run folders.
        name: The identity.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.path = root / FOLDER / name
        self.rows = Rows(self.path / "rows.jsonl")
        self.checkpoints = Checkpoints(self.path / "checkpoints", self.rows)
        self._lock: TextIO | None = None

    @classmethod
    def of(cls, spec: Spec, root: Path) -> Prefix | None:
        """The beginning of a run, whether it is stored or not; None for a run that never cuts."""
        name = identity(spec)
        return None if name is None else cls(root, name)

    @property
    def stored(self) -> bool:
        """Whether it is there, by its looks."""
        return self.checkpoints.any()

    def hold(self) -> None:
        """Keep others from training it too; waits while another process holds it. The system lets go at its end."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = (self.path / ".lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def release(self) -> None:
        """Let others have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def give(self, folder: RunFolder) -> bool:
        """Copy it into a run folder that has no checkpoint yet; whether it was there and whole.

        Rows that the run had written before it had a checkpoint are replaced.
        """
        told: list[str] = []
        if not self.stored or self.checkpoints.latest(told.append) is None:
            return False
        write(folder.rows.path, self.rows.path.read_bytes() if self.rows.path.exists() else b"")
        shutil.copytree(self.checkpoints.path, folder.checkpoints.path, dirs_exist_ok=True)
        return True

    def take(self, checkpoint: Checkpoint, rows: Rows) -> None:
        """Store a state and the rows up to it."""
        self.path.mkdir(parents=True, exist_ok=True)
        write(self.rows.path, rows.path.read_bytes() if rows.path.exists() else b"")
        self.checkpoints.save(checkpoint)


def forget(root: Path, specs: Iterable[Spec]) -> None:
    """Remove the beginnings of runs that are all finished."""
    for prefix in {p.path: p for spec in specs if (p := Prefix.of(spec, root))}.values():
        shutil.rmtree(prefix.path, ignore_errors=True)
    folder = root / FOLDER
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
