"""An artefact is built and tried in a folder of its own, and moved to its place only when it has passed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from flowprune.artefacts.agreement import require_same
from flowprune.artefacts.exporting import Source, expected_of
from flowprune.artefacts.manifest import Artefact, Input, Kind, Output, beside, versions, write
from flowprune.core.files import checksum

Run = Callable[[Sequence[Tensor]], list[Tensor]]
"""An artefact, loaded: from the tensors it takes, in order, to those it gives."""


def publish(
    path: Path,
    kind: Kind,
    made_from: Source,
    *,
    build: Callable[[Path], None],
    load: Callable[[Path], Run],
    tolerance: float,
) -> Artefact:
    """Build an artefact, compare it with the model, describe it, and put it in its place with its JSON.

    What stood there before is replaced; where anything fails, it stays as it was.

    Raises:
        PruningError: the artefact does not give what the model gives.
    """
    what = "export_onnx(model=)" if kind == "onnx" else "export_program(model=)"
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        draft = Path(folder) / path.name
        # Before the model is exported: the exporter is handed the copy, and might change it.
        expected = [expected_of(what, made_from, trial) for trial in made_from.trials]
        build(draft)
        run, worst = load(draft), 0.0
        for trial, given in zip(made_from.trials, expected, strict=True):
            worst = max(worst, require_same(given, run(trial.copied().tensors), tolerance=tolerance, what=what))
        artefact = Artefact(
            path=path,
            kind=kind,
            files={file.name: checksum(file) for file in sorted(Path(folder).iterdir())},
            inputs=tuple(Input.of(tensor) for tensor in made_from.example.tensors),
            outputs=(),
            dynamic_batch=made_from.dynamic_batch,
            difference=worst,
            versions=versions(kind),
        )
        artefact = replace(artefact, outputs=tuple(Output.of(tensor) for tensor in run(artefact.drawn())))
        write(artefact, beside(draft))
        for name in (*artefact.files, beside(path).name):
            (Path(folder) / name).replace(path.parent / name)
    return artefact
