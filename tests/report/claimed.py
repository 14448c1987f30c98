"""Rows of runs of which claims are made, and what becomes of these."""

from __future__ import annotations

import json

from flowprune.report.reproduction import CLAIMS

BY_NAME = {claim.name: claim for claim in CLAIMS}
WHERE = {"model": "vgg13", "dataset": "cifar10"}


def pruned(kind, measure, seed, rounds=5, temperature=None, **fields):
    setting = json.dumps({"prune.temperature": temperature}) if temperature else None
    base = {"measure": measure, "rounds": rounds, "sparsity": 0.75, "granularity": "channels", "seed": seed}
    return {"kind": kind, **WHERE, **base, "setting": setting, **fields}


def dense(kind, seed, **fields):
    return {
        "kind": kind,
        **WHERE,
        "measure": "dense",
        "rounds": 0,
        "sparsity": 0.0,
        "granularity": "",
        "seed": seed,
        **fields,
    }


def finals(**accuracies):
    """Three seeds of each measure, whose accuracies lie a little apart."""
    return [
        pruned("result", measure, seed, test_accuracy_final=value + 0.001 * seed)
        for measure, value in accuracies.items()
        for seed in range(3)
    ]


def verdicts(name, rows):
    return [(case.where, case.verdict) for case in BY_NAME[name].cases(rows)]
