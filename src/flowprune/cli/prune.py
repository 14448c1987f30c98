"""``flowprune prune``: a smaller model, from a model and a measure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowprune.cli.options import (
    AnyDataset,
    AnyModel,
    Checkpoint,
    DataDir,
    GranularityName,
    InputShape,
    Measure,
    Residual,
    Samples,
    Seed,
    Temperature,
)

if TYPE_CHECKING:
    from flowprune.prune import PruneResult

Sparsity = Annotated[float, typer.Option("--sparsity", help="The fraction of units removed, in [0, 1).")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="How many cuts; each scores what the last one left.")]
Schedule = Annotated[str, typer.Option("--schedule", help="A name of: flowprune list schedules.")]
BatchSizes = Annotated[str, typer.Option("--batch-sizes", help="At which the passes before and after are timed.")]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Time them in that memory format.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for masks.safetensors and model.safetensors.")]


def prune(  # noqa: PLR0913, each argument is an option of the command
    *,
    sparsity: Sparsity,
    measure: Measure = "loss_preservation",
    model: AnyModel = "digits_convnet",
    dataset: AnyDataset = None,
    input_shape: InputShape = None,
    data_dir: DataDir = None,
    checkpoint: Checkpoint = None,
    granularity: GranularityName = "channels",
    residual: Residual = "coupled",
    rounds: Rounds = 1,
    schedule: Schedule = "exponential",
    samples: Samples = 1024,
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    batch_sizes: BatchSizes = "1,8",
    channels_last: ChannelsLast = False,
    out: Out = Path("pruned"),
) -> None:
    """Prune a model without training; print what is left of each layer, and write the masks and the model."""
    from flowprune import schedules
    from flowprune.cli.data_folder import use_data_dir
    from flowprune.cli.sizes import sizes
    from flowprune.cli.subject import granularity_of, prepare
    from flowprune.cli.tables import masks_table
    from flowprune.experiments.machine import require_writable
    from flowprune.measures import MEASURES
    from flowprune.prune import prune as prune_model
    from flowprune.structure import cost_report

    require_writable("--out", out, folder=True)
    use_data_dir(data_dir)
    batches = sizes("--batch-sizes", batch_sizes)
    planned = schedules.build(schedule, rounds=rounds, sparsity=sparsity)
    subject = prepare(
        model,
        dataset,
        checkpoint=checkpoint,
        samples=samples,
        temperature=temperature,
        seed=seed,
        input_shape=input_shape,
    )
    result = prune_model(
        subject.model,
        measure=measure,
        sparsity=sparsity,
        granularity=granularity_of(granularity, subject.example_inputs, residual=residual),
        objective=subject.objective,
        batches=subject.batches_for(MEASURES[measure]),
        schedule=planned,
    )
    masks_table(measure, result.masks)
    inputs = subject.example_inputs
    report = cost_report(subject.model, result.model, inputs, batch_sizes=batches, channels_last=channels_last)
    typer.echo(str(report))
    typer.echo(f"Checked after every cut: {', '.join(result.checks)}.")
    _save(result, out)
    typer.echo(f"Masks and model: {out}. In Python:\n\n{subject.recipe}", nl=False)
    typer.echo(f"    small = fp.experiments.load_pruned(model, {str(out)!r})")


def _save(result: PruneResult, out: Path) -> None:
    """Masks and weights, in a folder."""
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    result.masks.save(out / "masks.safetensors")
    # Copies, because safetensors refuses tensors that share memory, as tied ones do.
    tensors = {name: value.contiguous().clone() for name, value in result.model.state_dict().items()}
    save_file(tensors, out / "model.safetensors")
