"""Rows as all runs of a study would leave them: its own settings, made-up numbers."""

from __future__ import annotations

import json
from random import Random

from flowprune.experiments.studies import STUDIES
from flowprune.experiments.telling import settings
from flowprune.report.evidence import Evidence


def rows(name, accuracy, specs=None):
    """A result of each run, and of each pruned one a diagnosis; ``accuracy`` takes a spec and a random generator."""
    found = []
    specs = STUDIES[name].specs if specs is None else specs
    for spec, setting in zip(specs, settings(specs), strict=True):
        about = {**spec.columns, "run": spec.run_id, "setting": json.dumps(setting)}
        rng = Random(spec.run_id)
        value = min(1.0, max(0.0, accuracy(spec, rng)))
        found.append({**about, "kind": "result", "test_accuracy_final": value, "epochs": 8})
        if spec.prune is not None:
            found += [{**about, **row} for row in collapse(spec.prune.sparsity, rng)]
    return found


def collapse(sparsity, rng):
    """The diagnosis of two layers, of which the second keeps little."""
    kept = round(10_000 * (1 - sparsity))
    counts = {"a.weight": (1_000, min(1_000, kept // 2)), "b.weight": (9_000, kept - min(1_000, kept // 2))}
    yield {
        "kind": "collapse",
        "epoch": 0,
        "unit": "weights",
        "achieved_sparsity": sparsity,
        "effective_sparsity": sparsity + rng.uniform(0, 0.005),
        "compression": 1 / (1 - sparsity),
        "largest_safe_sparsity": 0.99 + rng.uniform(0, 0.005),
        "dies_first": "b.weight",
        "conservation": rng.uniform(0, 0.1),
        "warnings": ["fewer than 0.5 % of the weights are on a path in b.weight (40 of 9,000)."] * (sparsity > 0.97),
    }
    for layer, (total, own) in counts.items():
        yield {"kind": "collapse_layer", "epoch": 0, "layer": layer, "kept": own, "total": total, "effective": own}


def deep(spec, rng):
    """The theory come true, but for relu networks after SBP, which rescaling does not bring back."""
    options = spec.model.options
    if options["initial"] != "edge_of_chaos":
        return 0.1 + rng.uniform(-0.01, 0.02)
    if spec.prune is None:
        return 0.95 + rng.gauss(0, 0.01)
    saved = spec.prune.rescale == "layer" and (options["activation"] == "tanh" or spec.prune.recipe == "magnitude")
    if saved or spec.prune.sparsity < 0.6:
        return 0.94 - 0.1 * spec.prune.sparsity + rng.gauss(0, 0.03)
    return 0.1 + rng.uniform(-0.01, 0.02)


def small(spec, rng):
    """Methods that differ a little, random pruning lower, and collapse at 98 %."""
    if spec.prune is None:
        return 0.4 + rng.gauss(0, 0.02)
    lost = {"snip": 0.02, "grasp": 0.05, "synflow": 0.01, "magnitude": 0.03, "random": 0.12, "sbp_sr": 0.0}
    worse = 0.1 if "invert" in spec.prune.ablations else 0.0
    return 0.4 - lost[spec.prune.recipe] - worse - 2 * (spec.prune.sparsity - 0.9) + rng.gauss(0, 0.01)


def evidence(found):
    """The rows with the specs of the studies' runs beside them, flat."""
    from flowprune.report import evidence as module

    runs = {row["run"] for row in found}
    specs = [spec for name in STUDIES for spec in STUDIES[name].specs if spec.run_id in runs]
    flat = {spec.run_id: module._flat(spec.model_dump(mode="json")) for spec in specs}
    return Evidence(tuple(found), flat, {run: {"processor": "a processor", "torch": "2.13.0"} for run in runs})
