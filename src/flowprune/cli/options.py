"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flowprune.cli.headings import AMOUNT, DATA, MODEL, UNITS

UNIT = "What a unit is, by a name of: flowprune list granularities; with its sizes, as nm:2:4 and blocks:4x1."
Runs = Annotated[Path, typer.Option("--runs", help="Where the run folders are.")]
Jobs = Annotated[int | None, typer.Option("--jobs", min=1, help="Processes at a time; by default one per core.")]
Model = Annotated[str, typer.Option("--model", help="A name of: flowprune list models.")]
AnyModel = Annotated[
    str,
    typer.Option(
        "--model",
        help="A name of: flowprune list models; module:factory of your own, without arguments; or, of transformers, "
        "hf:FOLDER, hf:config.json or hf:FAMILY,field=value,...",
        rich_help_panel=MODEL,
    ),
]
AnyDataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="A name of: flowprune list datasets; digits, or none for module:factory and hf: models.",
        rich_help_panel=DATA,
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option(
        "--input-shape",
        help="Of one example of a module:factory or hf: model, such as 3,224,224.",
        rich_help_panel=MODEL,
    ),
]
Dataset = Annotated[str, typer.Option("--dataset", help="A name of: flowprune list datasets.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="The folder of the data sets; by default $FLOWPRUNE_DATA, else the user's cache.",
        rich_help_panel=DATA,
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Weights to load first (.safetensors); plan.json beside them is used.",
        rich_help_panel=MODEL,
    ),
]
Measure = Annotated[str, typer.Option("--measure", help="A name of: flowprune list measures.", rich_help_panel=UNITS)]
GranularityName = Annotated[
    str,
    typer.Option(
        "--granularity",
        help=UNIT,
        rich_help_panel=UNITS,
    ),
]
Residual = Annotated[
    Literal["coupled", "inner", "masked"],
    typer.Option(
        "--residual",
        help="Channels that several layers add up to: cut in all, left whole, or zeroed by layer.",
        rich_help_panel=UNITS,
    ),
]
Samples = Annotated[
    int, typer.Option("--samples", min=1, help="Training samples the signals are gathered on.", rich_help_panel=DATA)
]
Temperature = Annotated[
    float, typer.Option("--temperature", help="The logits are divided by it.", rich_help_panel=DATA)
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, help="Of the initial weights and of the samples.", rich_help_panel=DATA)
]
Scope = Annotated[
    Literal["global", "local", "isomorphic"],
    typer.Option(
        "--scope",
        help="What is ranked together: all layers, each by itself, or those that are built alike.",
        rich_help_panel=UNITS,
    ),
]
Protect = Annotated[
    list[str] | None,
    typer.Option(
        "--protect",
        metavar="PATTERN",
        help="Layers of which nothing is removed, such as 'head.*'; may be given several times.",
        rich_help_panel=UNITS,
    ),
]
Members = Annotated[
    Literal["producers", "group"],
    typer.Option(
        "--members",
        help="What of a channel is scored: the weights that make it, or with them those that read it.",
        rich_help_panel=UNITS,
    ),
]
Normalise = Annotated[
    Literal["none", "mean", "fan_in"],
    typer.Option(
        "--normalise",
        help="What makes the scores of different layers comparable: nothing, division by the layer's mean score, or "
        "by the square root of how many weights a unit has.",
        rich_help_panel=UNITS,
    ),
]
StepPenalty = Annotated[
    float,
    typer.Option(
        "--step-penalty",
        metavar="LAMBDA",
        help="Adds LAMBDA/2 times the sum of a unit's squared weights to its score, so that steps stay small.",
        rich_help_panel=UNITS,
    ),
]
Curvature = Annotated[
    Literal["ggn", "fisher_mc", "empirical", "hutchinson"] | None,
    typer.Option(
        "--curvature",
        help="The diagonal that obd and qm read: of the generalized Gauss-Newton matrix (the default), its Monte-Carlo "
        "estimate, the empirical Fisher, or an estimate of the Hessian's.",
        rich_help_panel=UNITS,
    ),
]
Floor = Annotated[
    float | None,
    typer.Option(
        "--floor",
        metavar="FRACTION",
        help="Of each layer, this share of its units and one more stay. By default 0.05 for units that are taken out, "
        "and none for weights and blocks.",
        rich_help_panel=AMOUNT,
    ),
]
