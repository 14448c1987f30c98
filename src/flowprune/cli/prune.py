"""``flowprune prune``: a smaller model, from a model and a measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowprune.cli.headings import AMOUNT, OUTPUT
from flowprune.cli.method import (
    Ablate,
    Compensate,
    GranularityOrNone,
    MeasureOrNone,
    Recipe,
    Rescale,
    ScoreOn,
    method,
    rule,
    schedule_of,
    scored,
    units,
)
from flowprune.cli.options import (
    AnyDataset,
    AnyModel,
    Checkpoint,
    Curvature,
    DataDir,
    Floor,
    InputShape,
    Members,
    Normalise,
    Protect,
    Residual,
    Samples,
    Scope,
    Seed,
    StepPenalty,
    Temperature,
)
from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from flowprune.prune import Budget, PruneResult

Sparsity = Annotated[
    float | None,
    typer.Option(
        "--sparsity",
        help="The fraction of units removed, in [0, 1); nm:N:M has its own, 1 - N/M.",
        rich_help_panel=AMOUNT,
    ),
]
BudgetText = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="UNIT=NUMBER",
        help="What is to be LEFT, in place of --sparsity, such as flops=0.5 or parameters=100000: parameters, flops, "
        "bytes or channels as a fraction in (0, 1] of the dense model or an amount, or latency_ms, at the first of "
        "--batch-sizes. flops counts multiply-adds: halve an amount that counts both.",
        rich_help_panel=AMOUNT,
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        "--rounds",
        min=1,
        help="How many cuts; each scores what the last one left. By default 1, or as the recipe does; with --schedule "
        "adaptive the most there may be, by default 140.",
        rich_help_panel=AMOUNT,
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        help="A name of: flowprune list schedules. By default exponential, or as the recipe does.",
        rich_help_panel=AMOUNT,
    ),
]
ScheduleOption = Annotated[
    list[str] | None,
    typer.Option(
        "--schedule-option",
        metavar="NAME=VALUE",
        help="What the schedule has besides, such as --schedule adaptive --schedule-option tolerance=0.2; may be given "
        "several times.",
        rich_help_panel=AMOUNT,
    ),
]
BatchSizes = Annotated[
    str,
    typer.Option("--batch-sizes", help="At which the passes before and after are timed.", rich_help_panel=OUTPUT),
]
ChannelsLast = Annotated[
    bool, typer.Option("--channels-last", help="Time them in that memory format.", rich_help_panel=OUTPUT)
]
Out = Annotated[Path, typer.Option("--out", help="Folder for plan.json and model.safetensors.", rich_help_panel=OUTPUT)]


def prune(  # noqa: PLR0913, each argument is an option of the command
    *,
    model: AnyModel = "digits_convnet",
    input_shape: InputShape = None,
    checkpoint: Checkpoint = None,
    granularity: GranularityOrNone = None,
    residual: Residual = "coupled",
    measure: MeasureOrNone = None,
    recipe: Recipe = None,
    ablate: Ablate = None,
    score_on: ScoreOn = "own_weights",
    rescale: Rescale = "recipe",
    compensate: Compensate = False,
    members: Members = "producers",
    normalise: Normalise = "none",
    step_penalty: StepPenalty = 0.0,
    curvature: Curvature = None,
    scope: Scope = "global",
    protect: Protect = None,
    sparsity: Sparsity = None,
    budget: BudgetText = None,
    rounds: Rounds = None,
    schedule: Schedule = None,
    schedule_option: ScheduleOption = None,
    floor: Floor = None,
    dataset: AnyDataset = None,
    data_dir: DataDir = None,
    samples: Samples = 1024,
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    batch_sizes: BatchSizes = "1,8",
    channels_last: ChannelsLast = False,
    out: Out = Path("pruned"),
) -> None:
    """Prune a model without training; print what is left of each layer, and write the plan and the model."""
    from flowprune.cli.data_folder import use_data_dir
    from flowprune.cli.sizes import sizes
    from flowprune.cli.subject import granularity_of, prepare
    from flowprune.experiments.machine import require_writable
    from flowprune.prune import prune as prune_model

    require_writable("--out", out, folder=True)
    use_data_dir(data_dir)
    batches = sizes("--batch-sizes", batch_sizes)
    measure = "loss_preservation" if measure is None and recipe is None else measure
    scored_on = partial(prepare, samples=samples, temperature=temperature, seed=seed)
    subject = scored_on(model, dataset, checkpoint=checkpoint, input_shape=input_shape)
    result = prune_model(
        subject.model,
        measure=measure,
        sparsity=sparsity,
        granularity=granularity_of(granularity or units(recipe), subject.example_inputs, residual=residual),
        schedule=schedule_of(schedule, rounds, sparsity, recipe=recipe, options=schedule_option),
        seed=seed,
        **scored(subject, measure, recipe, temperature=temperature, compensate=compensate),
        **method(recipe, scope=scope, ablate=ablate, score_on=score_on, rescale=rescale, compensate=compensate),
        **_timed(batches, budget, sparsity, channels_last=channels_last),
        **rule(protect, floor, members=members, normalise=normalise, step_penalty=step_penalty, curvature=curvature),
    )
    _finish(result, out, subject.recipe, seed)


def _timed(sizes: Sequence[int], budget: str | None, sparsity: float | None, *, channels_last: bool) -> dict[str, Any]:
    """Keywords of what is timed, and of the budget, which may be of time."""
    found = _budget(budget, sparsity, sizes[0])
    return {"budget": found, "batch_sizes": sizes, "channels_last": channels_last}


def _budget(text: str | None, sparsity: float | None, batch: int) -> Budget | None:
    """The budget; one of milliseconds is for passes of the first batch size that is timed."""
    from flowprune.prune import Budget

    if text is None:
        return None
    if sparsity is not None:
        raise invalid("--budget", "left out beside --sparsity, exactly one of the two", text)
    budget = Budget.parse(text)
    return replace(budget, batch=batch) if budget.unit == "latency_ms" else budget


def _tell(result: PruneResult) -> None:
    """What is left of each layer, what that saves, and what was verified."""
    from flowprune.cli.tables import masks_table

    masks_table(result.recipe or result.measure, result.masks)
    stages = [cut.stage for cut in result.cuts if cut.stage is not None]
    if stages:
        within = sum(stage.within for stage in stages)
        typer.echo(f"Cut in {len(stages)} stages, {within} of which changed the loss as predicted.")
    typer.echo(str(result.cost))
    if result.collapse is not None and result.collapse.effective_sparsity is not None:
        typer.echo(str(result.collapse))
    if result.budget is not None:
        typer.echo(f"Budget: {result.budget}.")
    if result.compensation is not None:
        typer.echo(f"Compensated: {result.compensation}.")
    typer.echo(f"Checked after every cut: {', '.join(result.checks)}.")


def _finish(result: PruneResult, out: Path, recipe: str, seed: int) -> None:
    """Say what is left, write the plan and the model, and say how to get them back."""
    from flowprune.plan import save

    _tell(result)
    save(result, out, seeds={"init": seed, "samples": seed})
    typer.echo(f"Plan and model: {out}. In Python:\n\n{recipe}    small = fp.load(model, {str(out)!r})")
