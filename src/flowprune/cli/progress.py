"""How far the runs are: bars in a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from flowprune.experiments.events import Event
    from flowprune.experiments.spec import Spec

ENDS = ("done", "failed", "skipped")


class Progress:
    """Shows events as they come; a context manager, because a terminal is given back at the end."""

    def __init__(self, specs: Sequence[Spec], console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._labels = labels(specs)
        self._count = 0
        self._began = time.perf_counter()
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Bars(*columns, console=self._console)
            self._all = self._bars.add_task("all runs", total=len(self._labels))

    def __enter__(self) -> Progress:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    def hear(self, event: Event) -> None:
        """The listener to pass to a run or a sweep."""
        if event.kind in ENDS:
            self._count += 1
        if self._bars:
            self._draw(self._bars, event)
        if event.kind in ("note", "failed") or (event.kind in ENDS and not self._bars):
            self._print(event)

    def _draw(self, bars: Bars, event: Event) -> None:
        if event.kind in ("start", "progress"):
            if event.run not in self._tasks:
                self._tasks[event.run] = bars.add_task(self._labels[event.run], total=event.total)
            bars.update(self._tasks[event.run], completed=event.done)
        elif event.kind in ENDS:
            if event.run in self._tasks:
                bars.remove_task(self._tasks.pop(event.run))
            bars.update(self._all, completed=self._count)

    def _print(self, event: Event) -> None:
        seconds = time.perf_counter() - self._began
        head = f"[{self._count:>3}/{len(self._labels)} {seconds:6.1f}s]"
        said = f": {event.text}" if event.text else ""
        self._console.print(
            f"{head} {self._labels.get(event.run, event.run)} {event.kind}{said}", markup=False, soft_wrap=True
        )


def labels(specs: Sequence[Spec]) -> dict[str, str]:
    """Each run in a few words, by run id, such as ``digits_convnet magnitude 5 rounds seed 0``.

    Any other field in which the runs differ follows with its value, so that no two labels are alike.
    """
    from flowprune.experiments.telling import settings

    datasets, sparsities = {spec.data.name for spec in specs}, {spec.prune.sparsity for spec in specs if spec.prune}
    found: dict[str, str] = {}
    for spec, others in zip(specs, settings(specs), strict=True):
        words = [spec.model.name, *([f"on {spec.data.name}"] if len(datasets) > 1 else [])]
        words += [f"{spec.prune.measure} {spec.prune.rounds} rounds" if spec.prune else "dense"]
        words += [f"sparsity {spec.prune.sparsity:g}"] if spec.prune and len(sparsities) > 1 else []
        found[spec.run_id] = " ".join([*words, f"seed {spec.seed}", *(f"{path}={v}" for path, v in others.items())])
    return found
