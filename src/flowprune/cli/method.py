"""Options of ``flowprune prune`` that say by which method units are chosen, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flowprune.cli.headings import UNITS
from flowprune.cli.options import UNIT
from flowprune.core.errors import invalid, renamed

if TYPE_CHECKING:
    from flowprune.cli.subject import Subject
    from flowprune.schedules import Schedule

MeasureOrNone = Annotated[
    str | None,
    typer.Option(
        "--measure",
        help="A name of: flowprune list measures. By default loss_preservation, where there is no --recipe.",
        rich_help_panel=UNITS,
    ),
]
GranularityOrNone = Annotated[
    str | None,
    typer.Option(
        "--granularity",
        help=f"{UNIT} By default channels, with --recipe weights.",
        rich_help_panel=UNITS,
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="A published method, by a name of: flowprune list recipes; its measure, objective and rounds.",
        rich_help_panel=UNITS,
    ),
]
Ablate = Annotated[
    list[str] | None,
    typer.Option(
        "--ablate",
        metavar="NAME",
        help="invert (cut what would be kept), shuffle (masks within each layer) or reinitialize (draw what is left "
        "anew); may be given several times.",
        rich_help_panel=UNITS,
    ),
]
ScoreOn = Annotated[
    Literal["own_weights", "fresh_draw"],
    typer.Option("--score-on", help="The weights that are scored: the model's, or others.", rich_help_panel=UNITS),
]
Rescale = Annotated[
    Literal["recipe", "none", "layer", "unit"],
    typer.Option(
        "--rescale",
        help="Multiply kept weights to the variance of dense ones: as the recipe does, or not, or by layer or unit.",
        rich_help_panel=UNITS,
    ),
]

Compensate = Annotated[
    bool,
    typer.Option(
        "--compensate",
        help="Change the weights that stay so that layers give what they gave, by least squares over the samples.",
        rich_help_panel=UNITS,
    ),
]


def units(recipe: str | None) -> str:
    """The granularity where none is named.

    Example:
        >>> units(None), units("snip")
        ('channels', 'weights')
    """
    return "channels" if recipe is None else "weights"


def schedule_of(
    name: str | None,
    rounds: int | None,
    sparsity: float | None,
    *,
    recipe: str | None,
    options: Sequence[str] | None = None,
) -> Schedule | None:
    """The schedule that is asked for, with the recipe's own name and rounds where they are not; None for that.

    Example:
        >>> schedule_of("adaptive", 9, 0.5, recipe=None, options=["tolerance=0.3", "full=true"]).adapt.tolerance
        0.3
    """
    from flowprune import schedules
    from flowprune.core.recipes import RECIPES
    from flowprune.experiments.axes import assignments

    example, many = "tolerance=0.2", "A schedule has one of each."
    own = assignments("--schedule-option", options or (), example=example, many=many)
    if recipe is not None and name is None and rounds is None and not own:
        return None
    plain, few = ("exponential", 1) if recipe is None else (RECIPES[recipe].schedule, RECIPES[recipe].rounds)
    most = rounds or (schedules.MAX_STAGES if name == "adaptive" else few)
    with renamed({"adaptive(": "--schedule-option adaptive(", "adaptive(max_stages=)": "--rounds"}):
        told = None if recipe is not None else sparsity
        return schedules.build(name or plain, rounds=most, sparsity=told, options=own)


def method(
    recipe: str | None,
    *,
    scope: str,
    ablate: Sequence[str] | None,
    score_on: str,
    rescale: str,
    compensate: bool = False,
) -> dict[str, Any]:
    """Keywords of :func:`flowprune.prune`; what a recipe has of its own is left to it where nothing was asked for.

    Example:
        >>> method("erk", scope="global", ablate=None, score_on="own_weights", rescale="recipe")
        {'ablations': (), 'score_on': 'own_weights', 'recipe': 'erk'}
    """
    found: dict[str, Any] = {"ablations": tuple(ablate or ()), "score_on": score_on}
    if recipe is not None:
        found["recipe"] = recipe
    if recipe is None or scope != "global":
        found["scope"] = scope
    if compensate:
        found["compensate"] = True
    if rescale != "recipe":
        found["rescale"] = None if rescale == "none" else rescale
    return found


def rule(protect: Sequence[str] | None, floor: float | None, **words: float | str | None) -> dict[str, Any]:
    """Keywords of :class:`flowprune.prune.rule.Rule`: those that have the same words here, and what others come to.

    Example:
        >>> rule(None, None, members="group")
        {'protect': (), 'floor': 'auto', 'members': 'group'}
    """
    return {"protect": tuple(protect or ()), "floor": "auto" if floor is None else floor, **words}


def scored(
    subject: Subject, measure: str | None, recipe: str | None, *, temperature: float, compensate: bool = False
) -> dict[str, Any]:
    """What scores are taken of: the objective, and samples of the dataset.

    For a recipe that takes no more than the shape of an input, the example inputs of a model do as well.

    Raises:
        ValueError: a temperature beside a recipe, which has its own; or nothing to compensate weights on.
    """
    from flowprune.core.recipes import RECIPES
    from flowprune.measures import MEASURES

    if recipe is not None and temperature != 1.0:
        raise invalid("--temperature", "left out with --recipe, which has its own", temperature)
    chosen = MEASURES[RECIPES[recipe or ""].measure if measure is None else measure]
    if compensate and subject.data is None:
        todo = "Name one whose images the model takes."
        raise invalid("--dataset", "given for --compensate, which runs the model on it", None, todo)
    own = recipe is not None or chosen.objective is not None
    shapes = measure is None and recipe is not None and RECIPES[recipe].data != "labels"
    return {
        "objective": None if own else subject.objective,
        "batches": [(subject.example_inputs, None)] if shapes and subject.data is None else subject.batches_for(chosen),
    }
