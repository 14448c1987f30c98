"""``flowprune analyse observations``: the founding paper's five observations, tested on a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from flowprune.cli.subject import Subject, granularity_of
from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from flowprune.data import Batches
    from flowprune.experiments.rows import Row
    from flowprune.signals.gradient import Loss

BATCH = 64
"""Most images in a batch, also of the short trainings."""


def observations(  # noqa: PLR0913, each argument is an option of the command
    prepare: Callable[[], Subject],
    granularity: str,
    sparsity: float = 0.5,
    seeds: int = 5,
    steps: int = 20,
    learning_rate: float = 0.05,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    residual: str = "coupled",
    scoring_temperature: str | None = None,
) -> list[Row]:
    """Print the five observations: statistic, interval over seeds, verdict, and what follows.

    Each seed draws twice as many training images as ``subject.batches`` has, or all there are: half for signals, half
    for the short trainings. On a small data set the samples of different seeds overlap, so the intervals are narrow.

    Returns:
        The rows of :meth:`flowprune.analysis.Observations.to_rows`.
    """
    from flowprune import analysis
    from flowprune.cli.tables import observations_table

    training = analysis.ShortTraining(steps, learning_rate, momentum, weight_decay)
    scored_with = _scored_with(scoring_temperature)
    subject = prepare()
    _tell_of_overlap(subject)
    found = analysis.observations(
        subject.model,
        subject.objective,
        lambda seed: _sample(subject, seed),
        granularity=granularity_of(granularity, subject.example_inputs, residual=residual),
        sparsity=sparsity,
        seeds=seeds,
        training=training,
        scored_with=scored_with,
    )
    observations_table(found)
    for each in found:
        typer.echo(f"{each.number} {each.title}: {each.claim}.\n  {each.advice}")
    return [{**row, "residual": residual, "scoring_temperature": scoring_temperature} for row in found.to_rows()]


def _scored_with(temperature: str | None) -> dict[str, Loss]:
    """The objectives that measures are scored with; those that are left out take the training's own."""
    from flowprune.analysis.probe import SCORED
    from flowprune.measures import MEASURES
    from flowprune.objectives import cross_entropy

    if temperature is None:
        return {}
    if temperature == "published":
        published = {name: MEASURES[name].temperature for name in SCORED}
        return {name: cross_entropy(temperature=found) for name, found in published.items() if found is not None}
    try:
        value = float(temperature)
    except ValueError:
        raise invalid("--scoring-temperature", "a number above 0, or published", temperature) from None
    return dict.fromkeys(SCORED, cross_entropy(temperature=value))


def _tell_of_overlap(subject: Subject) -> None:
    wanted, there = len(subject.batches.labels), len(subject.dataset.train)
    if 2 * wanted > there:
        said = f"Each seed takes all {there // 2 * 2} of the {there} training images, where twice {wanted} are wanted"
        typer.echo(f"{said}: seeds differ in how these are dealt alone, and the intervals are narrow.", err=True)


def _sample(subject: Subject, seed: int) -> Batches:
    from flowprune.core.seeds import derive
    from flowprune.data import scoring_batches

    own = derive(subject.batches.seed or 0, "observations", seed)
    half = min(len(subject.batches.labels), len(subject.dataset.train) // 2)
    batch = math.ceil(half / math.ceil(half / BATCH))  # equal ones, so that half of the batches is half of the images
    return scoring_batches(subject.dataset, 2 * half, batch=batch, seed=own)
