"""What a spec may ask for, by the moment its network is pruned at: before its first step, in training, once trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flowprune.core.errors import invalid, renamed
from flowprune.core.recipes import RECIPES
from flowprune.measures.index import MEASURES
from flowprune.schedules import Schedule, build, one_shot

if TYPE_CHECKING:
    from flowprune.experiments.settings import PruneSpec
    from flowprune.experiments.spec import Spec
    from flowprune.prune import Recipe

WAITING: Final = ("start", "every", "when", "latest", "momentum")
ONLY_IN_TRAINING: Final = ("rounds", *WAITING[:4], "resampled", "momentum")
ONLY_BEFORE: Final = ("recipe", "iterations", "ablations", "score_on", "rescale")
OF_THE_RECIPE: Final = ("schedule", "schedule_options", "step_penalty", "curvature")
"""Fields that a recipe answers by itself."""
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
    scheduled(where, cut)
    if cut.granularity.partition(":")[0] not in HELD:
        todo = "Set prune.granularity='weights', or cut channels in training."
        raise invalid(
            f"{where}(prune.granularity)", f"one of {', '.join(HELD)} with prune.at='init'", cut.granularity, todo
        )
    require_of_channels(where, spec, cut)


def scheduled(where: str, cut: PruneSpec) -> Schedule:
    """The schedule of a network's cuts; of iterations where they come before training.

    Raises:
        ValueError: it cannot have that many rounds, has no such options, or sizes stages by another loss.

    Example:
        >>> from flowprune.experiments.settings import PruneSpec
        >>> asked = {"schedule": "adaptive", "schedule_options": {"tolerance": 2.0}, "rounds": 9}
        >>> scheduled("Spec", PruneSpec(measure="lm", at="trained", **asked))
        Traceback (most recent call last):
        ValueError: Spec(prune.schedule_options): adaptive(tolerance=) must be in (0, 1); got 2.0.
    """
    first = cut.at == "init"
    rounds, sparsity = (cut.iterations or 1, None) if first else (cut.rounds, cut.sparsity)
    if first and rounds == 1:
        if cut.schedule == "adaptive":
            rule, todo = "above 1 with a schedule that sizes its stages", "Set the most that there may be, such as 140."
            raise invalid(f"{where}(prune.iterations)", rule, cut.iterations, todo)
        if cut.schedule_options:
            rule, todo = f"left out: {cut.schedule} has none", "Set prune.schedule='adaptive', which has some."
            raise invalid(f"{where}(prune.schedule_options)", rule, dict(cut.schedule_options), todo)
        return one_shot()
    field = "iterations" if first else "rounds"
    shape = cut.schedule if cut.recipe is None else RECIPES[cut.recipe].schedule
    names = {
        f"{shape}(": f"{where}(prune.schedule_options): {shape}(",
        f"{shape}(max_stages=)": f"{where}(prune.{field})",
        f"schedules.build({shape!r}, rounds=)": f"{where}(prune.{field})",
        f"schedules.build({shape!r}, options=)": f"{where}(prune.schedule_options)",
    }
    with renamed(names):
        found = build(shape, rounds=rounds, sparsity=sparsity, options=cut.schedule_options)
    if found.adapt is not None and cut.measure in MEASURES and MEASURES[cut.measure].objective is not None:
        rule = "a measure of the loss itself with a schedule that sizes its stages by what they cost of it"
        raise invalid(f"{where}(prune.measure)", rule, cut.measure, "Set prune.schedule='exponential'.")
    return found


def _require_used(where: str, cut: PruneSpec, recipe: Recipe) -> None:
    """Raise where a field says what the recipe says, or what it has no use for."""
    _require_unasked(where, cut, OF_THE_RECIPE, f"prune.recipe={recipe.name!r}")
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
    if cut.schedule == "adaptive":
        todo = "Cut before training or of a trained network, at one go."
        raise invalid(f"{where}(prune.schedule)", "one of fixed rounds in training", cut.schedule, todo)
    if cut.rounds > 1:
        _require_cuts_that_stay(where, cut, "where there are several rounds in training")


def require_trained(where: str, spec: Spec, cut: PruneSpec) -> None:
    """Raise where a spec that prunes a trained network says what is done before or in training, or cannot be resumed.

    Raises:
        ValueError: naming the field.
    """
    _require_unasked(where, cut, (*ONLY_BEFORE, *WAITING), "prune.at='trained'")
    _require_cuts_that_stay(where, cut, "with prune.at='trained'")
    scheduled(where, cut)
    if spec.reference_compat:
        todo = "The founding paper's code prunes in training."
        raise invalid(f"{where}(reference_compat)", "False with prune.at='trained'", True, todo)
    require_of_channels(where, spec, cut)


def require_of_channels(where: str, spec: Spec, cut: PruneSpec) -> None:
    """Raise where what only channels have is asked of other units.

    Raises:
        ValueError: naming the granularity.
    """
    if cut.granularity != "channels" and (cut.residual != "coupled" or spec.reference_compat):
        got = f"prune.residual={cut.residual}, reference_compat={spec.reference_compat}"
        raise invalid(f"{where}(prune.granularity)", "'channels' with settings of channels", got)


def require_curved(where: str, cut: PruneSpec) -> None:
    """Raise where a curvature is chosen for a measure that reads none.

    Raises:
        ValueError: naming the field.
    """
    adapt = None if cut.recipe is not None else scheduled(where, cut).adapt
    sized_by_it = adapt is not None and adapt.diagonal
    if cut.measure in MEASURES and "curvature" not in MEASURES[cut.measure].needs and not sized_by_it:
        _require_unasked(where, cut, ("curvature",), f"prune.measure={cut.measure!r}, which reads none")


def _require_cuts_that_stay(where: str, cut: PruneSpec, setting: str) -> None:
    if cut.measure in MEASURES and MEASURES[cut.measure].revives:
        todo = "Set prune.at='init' and prune.iterations, or take iter_snip."
        raise invalid(f"{where}(prune.measure)", f"one whose cuts stay cut, {setting}", cut.measure, todo)


def _require_unasked(where: str, cut: PruneSpec, names: tuple[str, ...], setting: str) -> None:
    for name in names:
        default = type(cut).model_fields[name].default
        if getattr(cut, name) != default:
            raise invalid(f"{where}(prune.{name})", f"{default!r} with {setting}", getattr(cut, name))
