"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Runs = Annotated[Path, typer.Option("--runs", help="Where the run folders are.")]
Jobs = Annotated[int | None, typer.Option("--jobs", min=1, help="Processes at a time; by default one per core.")]
Model = Annotated[str, typer.Option("--model", help="A name of: flowprune list models.")]
Dataset = Annotated[str, typer.Option("--dataset", help="A name of: flowprune list datasets.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="The folder of the data sets; by default $FLOWPRUNE_DATA, else the user's cache.",
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="Weights to load first (.safetensors); masks.safetensors beside them is used."),
]
Measure = Annotated[str, typer.Option("--measure", help="A name of: flowprune list measures.")]
GranularityName = Annotated[
    Literal["channels", "weights", "depth"], typer.Option("--granularity", help="What a unit is.")
]
Residual = Annotated[
    Literal["coupled", "inner", "masked"],
    typer.Option(
        "--residual", help="Channels that several layers add up to: cut in all, left whole, or zeroed by layer."
    ),
]
Samples = Annotated[int, typer.Option("--samples", min=1, help="Training samples the signals are gathered on.")]
Temperature = Annotated[float, typer.Option("--temperature", help="The logits are divided by it.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the initial weights and of the samples.")]
