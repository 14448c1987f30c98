"""``flowprune prune``: a smaller model, from a model and a measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowprune.cli.options import (
    Checkpoint,
    DataDir,
    Dataset,
    GranularityName,
    Measure,
    Model,
    Residual,
    Samples,
    Seed,
    Temperature,
)

Sparsity = Annotated[float, typer.Option("--sparsity", help="The fraction of units removed, in [0, 1).")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="How many cuts; each scores what the last one left.")]
Schedule = Annotated[str, typer.Option("--schedule", help="A name of: flowprune list schedules.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for masks.safetensors and model.safetensors.")]


def prune(  # noqa: PLR0913, each argument is an option of the command
    *,
    sparsity: Sparsity,
    measure: Measure = "loss_preservation",
    model: Model = "digits_convnet",
    dataset: Dataset = "digits",
    data_dir: DataDir = None,
    checkpoint: Checkpoint = None,
    granularity: GranularityName = "channels",
    residual: Residual = "coupled",
    rounds: Rounds = 1,
    schedule: Schedule = "exponential",
    samples: Samples = 1024,
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    out: Out = Path("pruned"),
) -> None:
    """Prune a model without training; print what is left of each layer, and write the masks and the model."""
    from safetensors.torch import save_file

    from flowprune import schedules
    from flowprune.cli.data_folder import use_data_dir
    from flowprune.cli.subject import granularity_of, prepare
    from flowprune.cli.tables import masks_table
    from flowprune.experiments.machine import require_writable
    from flowprune.prune import prune as prune_model

    require_writable("--out", out, folder=True)
    use_data_dir(data_dir)
    planned = schedules.build(schedule, rounds=rounds, sparsity=sparsity)
    subject = prepare(model, dataset, checkpoint=checkpoint, samples=samples, temperature=temperature, seed=seed)
    result = prune_model(
        subject.model,
        measure=measure,
        sparsity=sparsity,
        granularity=granularity_of(granularity, subject.example_inputs, residual=residual),
        objective=subject.objective,
        batches=subject.batches,
        schedule=planned,
    )
    masks_table(measure, result.masks)
    typer.echo(str(result.cost))
    typer.echo(f"Checked after every cut: {', '.join(result.checks)}.")
    out.mkdir(parents=True, exist_ok=True)
    result.masks.save(out / "masks.safetensors")
    save_file(
        {name: value.contiguous() for name, value in result.model.state_dict().items()}, out / "model.safetensors"
    )
    typer.echo(f"Masks and model: {out}. In Python:\n\n{subject.recipe}", nl=False)
    typer.echo(f"    small = fp.experiments.load_pruned(model, {str(out)!r})")
