"""FORCE: as iterative SNIP, but what was cut is scored with the gradient of the pruned network, and may come back."""

from flowprune.objectives import cross_entropy
from flowprune.prune.recipe import Recipe
from flowprune.prune.recipes.iter_snip import PROGRESSIVE, SHARED

FORCE = Recipe(
    name="force",
    measure="force",
    source=PROGRESSIVE,
    data="labels",
    objective=cross_entropy,
    rounds=10,
    rule={"mode": "train"},
    deviations=SHARED,
)
