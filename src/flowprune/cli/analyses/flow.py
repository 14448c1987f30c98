"""``flowprune analyse flow``: the norm and its derivatives, and which measures agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import combinations
from typing import TYPE_CHECKING

import typer

from flowprune.cli.subject import Subject, granularity_of

if TYPE_CHECKING:
    from torch import Tensor

    from flowprune.experiments.rows import Row

PAPER = ("magnitude", "loss_preservation", "biased_loss", "gradient_norm_increase", "gradient_norm_preservation")
"""The measures of the gradient-flow paper."""


def flow(
    prepare: Callable[[], Subject], granularity: str, sparsity: float = 0.75, *, residual: str = "coupled"
) -> list[Row]:
    """Print the norm and its derivatives, predicted and measured, and how far the paper's measures agree.

    Returns:
        A row of kind "flow", and one of kind "agreement" for each pair of measures.
    """
    from flowprune import analysis
    from flowprune.cli.tables import agreement_table, flow_table
    from flowprune.experiments.recording import short_time
    from flowprune.measures import score
    from flowprune.signals import gather

    subject = prepare()
    signals = gather(subject.model, subject.objective, subject.batches, needs=("gradient", "hessian_gradient"))
    predicted = analysis.flow(signals)
    step = short_time(predicted, 1e-6)
    measured = analysis.measured_flow(subject.model, subject.objective, subject.batches, step=step)
    flow_table(predicted, measured)
    units = granularity_of(granularity, subject.example_inputs, residual=residual)
    scores = {name: score(name, signals, units) for name in PAPER}
    agreement_table(scores, sparsity)
    removed = f"{100 * sparsity:g} % removed"
    typer.echo(f"Agreement is Spearman's correlation over all units; overlap is of the units both keep at {removed}.")
    found = {
        **asdict(predicted),
        "measured_velocity": measured.velocity,
        "measured_acceleration": measured.acceleration,
    }
    return [{"kind": "flow", **found}, *_agreements(scores, sparsity)]


def _agreements(scores: Mapping[str, Mapping[str, Tensor]], sparsity: float) -> list[Row]:
    from flowprune.analysis import agreement

    return [
        {"kind": "agreement", "a": a, "b": b, "sparsity": sparsity}
        | asdict(agreement(scores[a], scores[b], sparsity=sparsity))
        for a, b in combinations(scores, 2)
    ]
