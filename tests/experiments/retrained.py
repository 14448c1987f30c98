"""A small run that prunes a trained network in stages and trains it again, and how its rows are read."""

from __future__ import annotations

import json

from flowprune.experiments.spec import parse

SPEC = parse(
    {
        "model": {"name": "mlp", "options": {"widths": [24, 16], "activation": "tanh", "initial": "kaiming"}},
        "data": {"name": "digits"},
        "train": {"epochs": "4ep", "batch": 64, "learning_rate": 0.05, "milestones": {"3ep": 0.005}, "augment": False},
        "prune": {
            "measure": "lm",
            "at": "trained",
            "rounds": 3,
            "schedule": "exponential",
            "sparsity": 0.9,
            "samples": 128,
            "granularity": "weights",
        },
        "record": {"flow": "none", "cuts": "loss", "checkpoint": 1},
    }
)
TIMES = ("seconds", "gather_seconds", "cut_seconds", "train_seconds")


def silent(_: object) -> None:
    pass


def rows(folder, kind: str | None = None) -> list[dict]:
    lines = [json.loads(line) for line in folder.rows.path.read_text().splitlines()]
    found = [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
    return [row for row in found if kind in (None, row["kind"])]
