"""``flowprune analyse observations``: the founding paper's five observations, tested on a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from flowprune.cli.subject import Subject, granularity_of

if TYPE_CHECKING:
    from flowprune.data import Batches
    from flowprune.experiments.rows import Row

BATCH = 64
"""Most images in a batch, also of the short trainings."""


def observations(
    prepare: Callable[[], Subject],
    granularity: str,
    sparsity: float = 0.5,
    seeds: int = 5,
    steps: int = 20,
    learning_rate: float = 0.05,
) -> list[Row]:
    """Print the five observations: statistic, interval over seeds, verdict, and what follows.

    Each seed draws twice as many training images as ``subject.batches`` has, or all there are: half for signals, half
    for the short trainings. On a small data set the samples of different seeds overlap, so the intervals are narrow.

    Returns:
        The rows of :meth:`flowprune.analysis.Observations.to_rows`.
    """
    from flowprune import analysis
    from flowprune.cli.tables import observations_table

    training = analysis.ShortTraining(steps=steps, learning_rate=learning_rate)
    subject = prepare()
    found = analysis.observations(
        subject.model,
        subject.objective,
        lambda seed: _sample(subject, seed),
        granularity=granularity_of(granularity, subject.example_inputs),
        sparsity=sparsity,
        seeds=seeds,
        training=training,
    )
    observations_table(found)
    for each in found:
        typer.echo(f"{each.number} {each.title}: {each.claim}.\n  {each.advice}")
    return list(found.to_rows())


def _sample(subject: Subject, seed: int) -> Batches:
    from flowprune.core.seeds import derive
    from flowprune.data import scoring_batches

    own = derive(subject.batches.seed or 0, "observations", seed)
    half = min(len(subject.batches.labels), len(subject.dataset.train) // 2)
    batch = math.ceil(half / math.ceil(half / BATCH))  # equal ones, so that half of the batches is half of the images
    return scoring_batches(subject.dataset, 2 * half, batch=batch, seed=own)
