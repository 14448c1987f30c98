"""Random pruning with one density, but the first convolution whole and a fifth of the last layer."""

from flowprune.core.source import Source
from flowprune.prune.recipe import Recipe

UNIFORM_PLUS = Recipe(
    name="uniform_plus",
    measure="random",
    source=Source("Gale, Elsen & Hooker", 2019, "The State of Sparsity in Deep Neural Networks", arxiv="1902.09574"),
    data="none",
    densities="uniform_plus",
    deviations=(
        "What is left of the budget is shared by the weights that are left; published code divides it by all, and ends "
        "below the asked density.",
    ),
)
