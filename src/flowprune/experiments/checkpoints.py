"""The state of a run after an epoch, kept in two generations so that a damaged one costs little."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from safetensors import SafetensorError

from flowprune.core.files import checksum_of, read_json, sha256, write, write_json
from flowprune.experiments.rows import Rows

if TYPE_CHECKING:
    from torch import Tensor

GENERATIONS = 2


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything a run needs to go on after ``epoch``: tensors by name, and facts that JSON can hold."""

    epoch: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, object]


class Checkpoints:
    """Saves and finds the checkpoints of one run folder.

    A checkpoint is ``0007.safetensors`` and ``0007.json``; the second is written last and holds the checksum of
    the first, of itself, and of the rows up to that moment. So a process may die at any moment: what has no
    valid ``.json`` is not a checkpoint.
    """

    def __init__(self, path: Path, rows: Rows) -> None:
        self.path = path
        self.rows = rows

    def save(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint, then forget all but the newest two."""
        from safetensors.torch import save

        self.path.mkdir(exist_ok=True)
        data = save({name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()})
        write(self._tensors(checkpoint.epoch), data)
        fields = {
            "epoch": checkpoint.epoch,
            "tensors": sha256(data),
            "rows": self.rows.mark(),
            "facts": dict(checkpoint.facts),
        }
        write_json(self._facts(checkpoint.epoch), {**fields, "checksum": checksum_of(fields)})
        for epoch in self._epochs()[GENERATIONS:]:
            self._forget(epoch)

    def any(self) -> bool:
        """Whether there is one, by its looks."""
        return bool(self._epochs())

    def latest(self, tell: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint whose checksums hold; the rows are cut back to it. None where there is none.

        A damaged one is told, with what is used instead, and removed.
        """
        for epoch in self._epochs():
            try:
                checkpoint, length = self._load(epoch)
            except (OSError, ValueError, SafetensorError) as error:
                tell(f"{error} The checkpoint of epoch {epoch} is not used; going back to the one before it.")
                self._forget(epoch)
                continue
            self.rows.truncate(length)
            return checkpoint
        self.rows.truncate(0)
        return None

    def _load(self, epoch: int) -> tuple[Checkpoint, int]:
        from safetensors.torch import load

        fields = read_json(self._facts(epoch))
        if fields.pop("checksum", None) != checksum_of(fields):
            raise ValueError(f"{self._facts(epoch)} is damaged: its checksum does not hold.")
        data = self._tensors(epoch).read_bytes()
        if sha256(data) != fields["tensors"]:
            raise ValueError(f"{self._tensors(epoch)} is damaged: its checksum does not hold.")
        mark = cast("dict[str, int | str]", fields["rows"])
        if not self.rows.holds(mark):
            raise ValueError(f"{self.rows.path} is damaged: it is not what it was after epoch {epoch}.")
        return Checkpoint(epoch, load(data), cast("dict[str, object]", fields["facts"])), int(mark["bytes"])

    def _epochs(self) -> list[int]:
        return sorted((int(path.stem) for path in self.path.glob("[0-9]*.json")), reverse=True)

    def _forget(self, epoch: int) -> None:
        self._facts(epoch).unlink(missing_ok=True)  # first: tensors without facts are no checkpoint
        self._tensors(epoch).unlink(missing_ok=True)

    def _facts(self, epoch: int) -> Path:
        return self.path / f"{epoch:04d}.json"

    def _tensors(self, epoch: int) -> Path:
        return self.path / f"{epoch:04d}.safetensors"
