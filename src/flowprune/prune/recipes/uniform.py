"""Random pruning with one density for all layers."""

from flowprune.prune.recipe import Recipe
from flowprune.prune.recipes.random import RANDOM_PRUNING

UNIFORM = Recipe(
    name="uniform",
    measure="random",
    source=RANDOM_PRUNING,
    data="none",
    densities="uniform",
    deviations=("Layers have exactly their number of weights; the published code draws each weight by itself.",),
)
