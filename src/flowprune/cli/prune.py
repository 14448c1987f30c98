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
from flowprune.core.errors import invalid

Sparsity = Annotated[
    float | None,
    typer.Option("--sparsity", help="The fraction of units removed, in [0, 1); nm:N:M has its own, 1 - N/M."),
]
BudgetText = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="UNIT=NUMBER",
        help="What is to be LEFT, in place of --sparsity: parameters, flops, bytes or channels as a fraction in (0, 1] "
        "of the dense model or an amount, or latency_ms.",
    ),
]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="How many cuts; each scores what the last one left.")]
Schedule = Annotated[str, typer.Option("--schedule", help="A name of: flowprune list schedules.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for plan.json and model.safetensors.")]


def prune(  # noqa: PLR0913, each argument is an option of the command
    *,
    sparsity: Sparsity = None,
    budget: BudgetText = None,
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
    """Prune a model without training; print what is left of each layer, and write the plan and the model."""
    from flowprune import schedules
    from flowprune.cli.data_folder import use_data_dir
    from flowprune.cli.subject import granularity_of, prepare
    from flowprune.cli.tables import cost_table, masks_table
    from flowprune.experiments.machine import require_writable
    from flowprune.plan import save
    from flowprune.prune import Budget
    from flowprune.prune import prune as prune_model

    require_writable("--out", out, folder=True)
    use_data_dir(data_dir)
    target = None if budget is None else Budget.parse(budget)
    if sparsity is not None and target is not None:
        raise invalid("--budget", "left out beside --sparsity, exactly one of the two", budget)
    planned = schedules.build(schedule, rounds=rounds, sparsity=sparsity)
    subject = prepare(model, dataset, checkpoint=checkpoint, samples=samples, temperature=temperature, seed=seed)
    result = prune_model(
        subject.model,
        measure=measure,
        sparsity=sparsity,
        budget=target,
        granularity=granularity_of(granularity, subject.example_inputs, residual=residual),
        objective=subject.objective,
        batches=subject.batches,
        schedule=planned,
    )
    masks_table(measure, result.masks)
    cost_table(result.cost)
    if result.budget is not None:
        typer.echo(f"Budget: {result.budget}.")
    typer.echo(f"Verdict: {result.cost.verdict}.")
    typer.echo(f"Checked after every cut: {', '.join(result.checks)}.")
    save(result, out, seeds={"init": seed, "samples": seed})
    typer.echo(f"Plan and model: {out}. In Python:\n\n{subject.recipe}", nl=False)
    typer.echo(f"    small = fp.load(model, {str(out)!r})")
