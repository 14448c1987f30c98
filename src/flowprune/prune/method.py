"""What a call of ``prune`` asks for, once a recipe and what is given beside it are put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple, cast

from torch import nn

from flowprune.core.errors import invalid, unknown
from flowprune.core.recipes import RECIPES
from flowprune.masks import DENSITIES, Weights, weight_shapes
from flowprune.measures import Granularity, Measure, own_objective, require_measure
from flowprune.models.residual import is_stable
from flowprune.prune.afterwards import Afterwards
from flowprune.prune.budget import Budget
from flowprune.prune.options import ABLATIONS
from flowprune.prune.pruner import Pruner
from flowprune.prune.recipe import Recipe
from flowprune.schedules import Schedule, build, one_shot, require_schedule
from flowprune.schedules.schedule import require_sparsity

AFTER = ("ablations", "score_on", "build", "rescale", "sigma_w", "compensate")


class Asked(NamedTuple):
    """What is pruned, and how much."""

    model: nn.Module
    granularity: Granularity
    sparsity: float | None


@dataclass(frozen=True, eq=False)
class Method:
    """A measure, what it is taken of, in which rounds, and what is done with the masks.

    Attributes:
        measure: The measure.
        objective: What is differentiated; None where nothing is.
        schedule: Without a sparsity of its own, or with it.
        rule: Keywords of :class:`~flowprune.prune.rule.Rule`.
        sparsity: What is asked for of all layers together; None where densities of layers took its place.
        afterwards: What is done to the masks and the weights that stay.
        recipe: Where it comes from; None where it was put together by hand.
    """

    measure: Measure
    objective: Any
    schedule: Schedule
    rule: Mapping[str, Any]
    sparsity: float | None
    afterwards: Afterwards
    recipe: Recipe | None = None

    @classmethod
    def of(
        cls,
        asked: Asked,
        measure: str | Measure | None,
        *,
        objective: Any,
        schedule: Schedule | None,
        options: Mapping[str, Any],
    ) -> Method:
        """What is asked for; given arguments take the place of a recipe's.

        Raises:
            ValueError: neither a measure nor a recipe, or an argument that the recipe does not use.
            UnknownNameError: an unknown recipe, measure, ablation or ``score_on``.
        """
        given = dict(options)
        recipe = _recipe(given.pop("recipe", None))
        named = recipe.measure if measure is None and recipe is not None else measure
        if named is None:
            todo = "E.g. measure='magnitude', or recipe='synflow'."
            raise invalid("prune(measure=)", "given, or recipe=", None, todo)
        chosen = require_measure("prune", named)
        after = {name: given.pop(name) for name in AFTER if name in given}
        if recipe is not None:
            _require_fit(recipe, chosen, asked.model, objective)
            after.setdefault("rescale", recipe.rescale)
            given = {**_rule_of(recipe, chosen, asked, given), **given}
        ablations = _ablations(after.pop("ablations", ()))
        if "invert" in ablations:
            given["invert"] = True
        return cls(
            chosen,
            _objective(chosen, recipe, objective),
            _schedule(recipe, schedule),
            given,
            None if recipe is not None and recipe.densities is not None else asked.sparsity,
            Afterwards.of(ablations, seed=given.get("seed") or 0, **after),
            recipe,
        )

    @property
    def name(self) -> str:
        """The recipe's, where its measure was not replaced; else empty."""
        return self.recipe.name if self.recipe is not None and self.recipe.measure == self.measure.name else ""

    @property
    def prepares(self) -> bool:
        """Whether the objective makes something else of the network before it is run."""
        return hasattr(self.objective, "prepare_")

    def pruner(
        self, model: nn.Module, objective: Any, granularity: Granularity, schedule: Schedule, budget: Budget | None
    ) -> Pruner:
        """What prunes a model this way without training in between, given the objective of this very copy."""
        return Pruner(
            model,
            None,
            measure=self.measure,
            granularity=granularity,
            objective=objective,
            schedule=schedule,
            budget=budget,
            **self.rule,
        )

    def require_inputs(self, batches: Iterable[Any]) -> None:
        """Raise where weights are to be compensated and there is nothing to run the model on.

        Raises:
            ValueError: naming what is missing.
        """
        if self.afterwards.compensate and isinstance(batches, Sized) and not len(batches):
            raise invalid("prune(batches=)", "given, because compensate=True runs the model", "none")

    def require_objective(self) -> None:
        """Raise where the measure has something to differentiate and nothing is given.

        Raises:
            ValueError: naming what it needs.
        """
        if self.measure.needs and self.objective is None:
            rule = f"given, because {self.measure.name!r} needs {self.measure.needs}"
            raise invalid("prune(objective=)", rule, None)


def _recipe(asked: object) -> Recipe | None:
    if asked is None or isinstance(asked, Recipe):
        return asked
    if not isinstance(asked, str):
        raise invalid("prune(recipe=)", "a name in fp.RECIPES, or a Recipe", asked)
    return cast(Recipe, RECIPES[asked])


def _require_fit(recipe: Recipe, measure: Measure, model: nn.Module, objective: object) -> None:
    """Nothing is given that the method does not use, and the model is one that it is for."""
    if not measure.needs and objective is not None:
        todo = "Leave it out: no gradient is taken. Batches may be given; their shapes serve to count costs."
        raise invalid(f"prune(recipe={recipe.name!r}, objective=)", "None", objective, todo)
    if recipe.stable and not is_stable(model):
        todo = "Build it with stable=True. Of a network of your own that scales its branches, use recipe='snip'."
        raise invalid(f"prune(recipe={recipe.name!r}, model=)", "a Stable ResNet", type(model).__name__, todo)


def _rule_of(recipe: Recipe, measure: Measure, asked: Asked, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords that a recipe sets, those that depend on the sparsity among them."""
    rule = dict(recipe.rule)
    if not measure.needs:
        rule.pop("mode", None)
    if recipe.densities is not None:
        for name, unasked in (("scope", "global"), ("protect", ())):
            if name in given and given[name] != unasked:
                todo = "The recipe says how much of each layer goes; leave layers whole by fp.Weights(skip=)."
                raise invalid(f"prune(recipe={recipe.name!r}, {name}=)", "left out", given[name], todo)
        rule["scope"] = _densities(recipe.name, recipe.densities, asked)
    return rule


def _densities(recipe: str, rule: str, asked: Asked) -> Mapping[str, float]:
    """The sparsity of each layer that is offered, so that exactly the asked number goes in all."""
    if asked.sparsity is None:
        raise invalid(f"prune(recipe={recipe!r}, sparsity=)", "given: the densities depend on it", None)
    if not isinstance(asked.granularity, Weights):
        todo = "Densities are of single weights."
        raise invalid(f"prune(recipe={recipe!r}, granularity=)", "fp.Weights()", asked.granularity.name, todo)
    shapes = weight_shapes(asked.model, skip=asked.granularity.skip)
    total = sum(prod(shape) for shape in shapes.values())
    kept = total - round(require_sparsity("prune(sparsity=)", asked.sparsity) * total)
    if kept < len(shapes):
        rule_ = f"at most {1 - len(shapes) / total:.6g} with recipe={recipe!r}, so that each layer keeps a weight"
        raise invalid("prune(sparsity=)", rule_, asked.sparsity)
    return DENSITIES[rule](shapes, kept / total)


def _objective(measure: Measure, recipe: Recipe | None, given: Any) -> Any:
    """What is given, or the recipe's, or the one that the measure is of."""
    if given is not None:
        return given
    if recipe is not None and recipe.objective is not None:
        return recipe.objective()
    return own_objective(measure)


def _schedule(recipe: Recipe | None, given: Schedule | None) -> Schedule:
    if given is not None:
        return require_schedule("prune", given)
    return one_shot() if recipe is None or recipe.rounds == 1 else build(recipe.schedule, rounds=recipe.rounds)


def _ablations(asked: object) -> tuple[str, ...]:
    if isinstance(asked, str) or not isinstance(asked, (tuple, list, set, frozenset)):
        raise invalid("prune(ablations=)", f"a sequence of {', '.join(ABLATIONS)}", asked, "Pass ('shuffle',).")
    for name in asked:
        if name not in ABLATIONS:
            raise unknown("prune(ablations=)", name, ABLATIONS)
    return tuple(asked)
