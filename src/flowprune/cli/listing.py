"""``flowprune list``: what there is, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from flowprune.core.index import Index

KINDS: Index[Mapping[str, object]] = Index(
    "list",
    {
        "analyses": "flowprune.cli.analyse:ANALYSES",
        "models": "flowprune.models:MODELS",
        "datasets": "flowprune.data:DATASETS",
        "granularities": "flowprune.core.granularities:GRANULARITIES",
        "measures": "flowprune.measures.index:MEASURES",
        "objectives": "flowprune.objectives:OBJECTIVES",
        "recipes": "flowprune.core.recipes:RECIPES",
        "presets": "flowprune.experiments.presets:PRESETS",
        "studies": "flowprune.experiments.studies:STUDIES",
        "schedules": "flowprune.schedules:SCHEDULES",
        "events": "flowprune.schedules:EVENTS",
        "figures": "flowprune.report.figures:FIGURES",
        "tables": "flowprune.report.tables:TABLES",
    },
)


def list_names(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(KINDS)}.")],
    details: Annotated[bool, typer.Option("--details", help="Say what each is; this imports them.")] = False,
) -> None:
    """List the names of KIND."""
    index = KINDS[kind]
    width = max(len(name) for name in index)
    for name in index:
        typer.echo(f"{name:<{width}}  {_describe(index[name])}" if details else name)


def _describe(entry: object) -> str:
    """The formula of a measure, the first line of a docstring otherwise, or the record itself."""
    formula = getattr(entry, "formula", None)
    if isinstance(formula, str):
        return formula
    return (entry.__doc__ or "").strip().partition("\n")[0] if callable(entry) else str(entry)
