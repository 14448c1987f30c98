from __future__ import annotations

import io

from rich.console import Console

from flowprune.cli.progress import Progress, labels
from flowprune.experiments.events import Event
from flowprune.experiments.spec import override, parse

BASE = parse({"model": {"name": "mlp"}, "data": {"name": "gaussians"}, "prune": {"measure": "fisher", "rounds": 5}})
SPECS = [BASE, BASE.model_copy(update={"seed": 1, "prune": None})]
FIRST, SECOND = (spec.run_id for spec in SPECS)
EVENTS = [
    Event(FIRST, "start", total=20),
    Event(FIRST, "progress", "test accuracy 0.5", 3, 20),
    Event(FIRST, "note", "a checkpoint is damaged [and told]"),
    Event(FIRST, "done"),
    Event(SECOND, "start", total=20),
    Event(SECOND, "failed", "ValueError: unlucky"),
]


def show(terminal):
    out = io.StringIO()
    with Progress(SPECS, Console(file=out, force_terminal=terminal, width=100, highlight=False)) as progress:
        for event in EVENTS:
            progress.hear(event)
    return out.getvalue()


def test_lines_where_there_is_no_terminal():
    lines = show(terminal=False).splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("mlp fisher 5 rounds seed 0 note: a checkpoint is damaged [and told]")
    assert lines[1].startswith("[  1/2")
    assert lines[1].endswith("mlp fisher 5 rounds seed 0 done")
    assert lines[2].endswith("mlp dense seed 1 failed: ValueError: unlucky")


def test_bars_in_a_terminal():
    said = show(terminal=True)
    assert "all runs" in said
    assert "2/2" in said
    assert "unlucky" in said


def test_no_two_labels_are_alike():
    specs = [
        override(BASE, {"prune.sparsity": sparsity, "train.batch": batch})
        for sparsity in (0.5, 0.9)
        for batch in (32, 64)
    ]
    told = labels([*specs, BASE.model_copy(update={"prune": None})])
    assert len(set(told.values())) == 5
    assert "mlp fisher 5 rounds sparsity 0.9 seed 0 train.batch=32" in told.values()
