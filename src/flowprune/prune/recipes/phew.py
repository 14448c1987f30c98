"""PHEW: no data and no gradient; keep what random walks from inputs to outputs pass, biased by magnitude."""

from flowprune.core.source import Source
from flowprune.prune.recipe import Recipe

PHEW = Recipe(
    name="phew",
    measure="phew",
    source=Source(
        "Patil & Dovrolis",
        2021,
        "PHEW: Constructing Sparse Networks that Learn Fast and Generalize Well without Training Data",
        arxiv="2010.11354",
    ),
    data="inputs",
    deviations=(
        "Walks follow the traced graph of any network; the published code knows the order of layers of two families.",
        "Exactly the asked number of weights stays; the published code stops after the walk that passes it.",
        "Biases are left alone; the published code masks those of units that no walk passes.",
    ),
)
