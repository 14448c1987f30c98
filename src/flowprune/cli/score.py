"""``flowprune score``: the importance of every unit of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowprune.cli.options import (
    AnyDataset,
    AnyModel,
    Checkpoint,
    Curvature,
    DataDir,
    GranularityName,
    InputShape,
    Measure,
    Residual,
    Samples,
    Seed,
    StepPenalty,
    Temperature,
)

Out = Annotated[Path | None, typer.Option("--out", help="Also write the scores, as safetensors.")]


def score(  # noqa: PLR0913, each argument is an option of the command
    *,
    measure: Measure = "loss_preservation",
    model: AnyModel = "digits_convnet",
    dataset: AnyDataset = None,
    input_shape: InputShape = None,
    data_dir: DataDir = None,
    checkpoint: Checkpoint = None,
    granularity: GranularityName = "channels",
    residual: Residual = "coupled",
    step_penalty: StepPenalty = 0.0,
    curvature: Curvature = None,
    samples: Samples = 1024,
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """Print each layer's scores; larger = keep."""
    from flowprune.cli.data_folder import use_data_dir
    from flowprune.cli.subject import granularity_of, prepare
    from flowprune.cli.tables import scores_table
    from flowprune.experiments.machine import require_writable
    from flowprune.measures import MEASURES
    from flowprune.measures import score as score_units
    from flowprune.signals import gather

    if out is not None:
        require_writable("--out", out, folder=False)
    use_data_dir(data_dir)
    chosen = MEASURES[measure]
    subject = prepare(
        model,
        dataset,
        checkpoint=checkpoint,
        samples=samples,
        temperature=temperature,
        seed=seed,
        input_shape=input_shape,
    )
    batches = subject.batches_for(chosen)
    signals = gather(subject.model, subject.objective, batches, needs=chosen.needs, curvature=curvature)
    units = granularity_of(granularity, subject.example_inputs, residual=residual)
    scores = score_units(chosen, signals, units, step_penalty=step_penalty)
    scores_table(measure, scores)
    if out is not None:
        from safetensors.torch import save_file

        out.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in scores.items()}, out)
        typer.echo(f"Scores: {out}")
