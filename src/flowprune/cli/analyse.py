"""``flowprune analyse``: what gradient flow does to a model, and whether the paper's observations hold for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flowprune.cli.options import Checkpoint, DataDir, Dataset, GranularityName, Model, Samples, Seed, Temperature
from flowprune.core.errors import invalid
from flowprune.core.index import Index

if TYPE_CHECKING:
    from flowprune.experiments.rows import Row

ANALYSES: Index[Callable[..., list[Row]]] = Index(
    "analyse",
    {
        "flow": "flowprune.cli.analyses.flow:flow",
        "observations": "flowprune.cli.analyses.observations:observations",
    },
)
"""Called with a function that makes the subject, the granularity and, by name, the options given that it has."""

What = Annotated[str, typer.Argument(metavar="WHAT", help=f"One of: {', '.join(ANALYSES)}.")]
Train = Annotated[int, typer.Option("--train", min=0, help="Epochs of quick training first, where no checkpoint is.")]
Out = Annotated[Path | None, typer.Option("--out", help="Also write what was found, as JSON.")]
Sparsity = Annotated[
    float | None, typer.Option("--sparsity", help="The fraction of units cut: 0.75 for flow, 0.5 for observations.")
]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="observations: samples of the data (5).")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="observations: training steps after a cut (20).")]
Rate = Annotated[float | None, typer.Option("--learning-rate", help="observations: of those steps (0.05).")]

Momentum = Annotated[float | None, typer.Option("--momentum", help="observations: of those steps (0.9).")]
Decay = Annotated[float | None, typer.Option("--weight-decay", help="observations: of those steps (0).")]
Form = Annotated[
    Literal["coupled", "inner", "masked"] | None,
    typer.Option(
        "--residual", help="Channels that several layers add up to: cut in all, left whole, or zeroed by layer."
    ),
]
Scoring = Annotated[
    str | None,
    typer.Option(
        "--scoring-temperature",
        metavar="T",
        help="observations: of the loss that measures are scored with: a number, or published (GraSP at 200).",
    ),
]


def analyse(  # noqa: PLR0913, each argument is an option of the command
    what: What = "flow",
    *,
    model: Model = "digits_convnet",
    dataset: Dataset = "digits",
    data_dir: DataDir = None,
    checkpoint: Checkpoint = None,
    train: Train = 0,
    granularity: GranularityName = "channels",
    samples: Samples = 512,
    temperature: Temperature = 1.0,
    seed: Seed = 0,
    sparsity: Sparsity = None,
    seeds: Seeds = None,
    steps: Steps = None,
    learning_rate: Rate = None,
    momentum: Momentum = None,
    weight_decay: Decay = None,
    residual: Form = None,
    scoring_temperature: Scoring = None,
    out: Out = None,
) -> None:
    """Look into a model: its gradient flow and which measures agree (flow), or the paper's five observations."""
    from flowprune.cli.data_folder import use_data_dir
    from flowprune.cli.subject import prepare
    from flowprune.experiments.machine import require_writable

    if out is not None:
        require_writable("--out", out, folder=False)
    use_data_dir(data_dir)
    subject = partial(
        prepare,
        model,
        dataset,
        checkpoint=checkpoint,
        samples=samples,
        temperature=temperature,
        seed=seed,
        train=train,
    )
    asked: dict[str, float | str | None] = {
        "sparsity": sparsity,
        "seeds": seeds,
        "steps": steps,
        "learning_rate": learning_rate,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "residual": residual,
        "scoring_temperature": scoring_temperature,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    _refuse_others(what, given, asked)
    rows = ANALYSES[what](subject, granularity, **given)
    if out is not None:
        about = {"model": model, "dataset": dataset, "train": train, "samples": samples, "temperature": temperature}
        _write(out, [{**row, **about, "checkpoint": checkpoint and str(checkpoint), "seed": seed} for row in rows])
        typer.echo(f"Rows: {out}")


def _refuse_others(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise where an option belongs to another analysis: it would be ignored."""
    own = [name for name in known if name in signature(ANALYSES[what]).parameters]
    others = [_flag(name) for name in given if name not in own]
    if others:
        rule = f"given its own options ({', '.join(map(_flag, own)) or 'none'}) and the general ones"
        raise invalid(f"analyse {what}", rule, ", ".join(others))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _write(out: Path, rows: list[Row]) -> None:
    """A JSON list; a number that is not finite is null there."""
    finite = [
        {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
        for row in rows
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(finite, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
