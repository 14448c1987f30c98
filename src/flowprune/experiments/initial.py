"""What a spec may ask for of a network that is pruned before its first step, and what only of one that trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flowprune.core.errors import invalid
from flowprune.core.recipes import RECIPES
from flowprune.measures.index import MEASURES

if TYPE_CHECKING:
    from flowprune.experiments.settings import PruneSpec
    from flowprune.experiments.spec import Spec
    from flowprune.prune import Recipe

ONLY_IN_TRAINING: Final = ("rounds", "start", "every", "when", "latest", "resampled", "momentum")
ONLY_BEFORE: Final = ("recipe", "iterations", "ablations", "score_on", "rescale")
HELD: Final = ("weights", "nm", "blocks")
"""Granularities whose units stay in the model."""


def require_initial(where: str, spec: Spec, cut: PruneSpec) -> None:
    """Raise where a spec that prunes before training says what is done in training, or makes the model smaller.

    Raises:
        ValueError: naming the field.
    """
    _require_unasked(where, cut, ONLY_IN_TRAINING, "prune.at='init'")
    if len(set(cut.ablations)) < len(cut.ablations):
        raise invalid(f"{where}(prune.ablations)", "of different names", list(cut.ablations))
    if cut.recipe is not None:
        _require_used(where, cut, RECIPES[cut.recipe])
    if cut.granularity.partition(":")[0] not in HELD:
        todo = "Set prune.granularity='weights', or cut channels in training."
        raise invalid(
            f"{where}(prune.granularity)", f"one of {', '.join(HELD)} with prune.at='init'", cut.granularity, todo
        )
    if spec.reference_compat or cut.residual != "coupled":
        got = f"prune.residual={cut.residual}, reference_compat={spec.reference_compat}"
        raise invalid(f"{where}(prune.granularity)", "'channels' with settings of channels", got)


def _require_used(where: str, cut: PruneSpec, recipe: Recipe) -> None:
    """Raise where a field says what the recipe says, or what it has no use for."""
    _require_unasked(where, cut, ("schedule",), f"prune.recipe={recipe.name!r}")
    if cut.temperature is not None and (recipe.data != "labels" or cut.temperature == "published"):
        rule = f"a number, or left out, with prune.recipe={recipe.name!r}"
        rule = rule if recipe.data == "labels" else f"left out with prune.recipe={recipe.name!r}, which takes no labels"
        raise invalid(f"{where}(prune.temperature)", rule, cut.temperature)
    if recipe.densities is not None and cut.scope != "global":
        todo = "The recipe says how much of each layer goes."
        raise invalid(f"{where}(prune.scope)", f"'global' with prune.recipe={recipe.name!r}", cut.scope, todo)


def require_in_training(where: str, cut: PruneSpec) -> None:
    """Raise where a spec that prunes in training says what is done before it, or could not be resumed.

    Raises:
        ValueError: naming the field.
    """
    _require_unasked(where, cut, ONLY_BEFORE, "prune.at='training'")
    if cut.rounds > 1 and cut.measure in MEASURES and MEASURES[cut.measure].revives:
        todo = "Set prune.at='init' and prune.iterations, or take iter_snip."
        rule = "one whose cuts stay cut, where there are several rounds in training"
        raise invalid(f"{where}(prune.measure)", rule, cut.measure, todo)


def _require_unasked(where: str, cut: PruneSpec, names: tuple[str, ...], setting: str) -> None:
    for name in names:
        default = type(cut).model_fields[name].default
        if getattr(cut, name) != default:
            raise invalid(f"{where}(prune.{name})", f"{default!r} with {setting}", getattr(cut, name))
