"""FORCE: as iterative SNIP, but what was cut is scored with the gradient of the pruned network, and may come back."""

from flowprune.measures import MEASURES
from flowprune.objectives import cross_entropy
from flowprune.prune.recipe import Recipe
from flowprune.prune.recipes.iter_snip import SHARED

FORCE = Recipe(
    name="force",
    measure="force",
    source=MEASURES["force"].source,
    data="labels",
    objective=cross_entropy,
    rounds=10,
    rule={"mode": "train"},
    deviations=SHARED,
)
