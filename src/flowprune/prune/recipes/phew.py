"""PHEW: no data and no gradient; keep what random walks from inputs to outputs pass, biased by magnitude."""

from flowprune.measures import MEASURES
from flowprune.prune.recipe import Recipe

PHEW = Recipe(
    name="phew",
    measure="phew",
    source=MEASURES["phew"].source,
    data="inputs",
    deviations=(
        "Walks follow the traced graph of any network; the published code knows the order of layers of two families.",
        "Exactly the asked number of weights stays; the published code stops after the walk that passes it.",
        "Biases are left alone; the published code masks those of units that no walk passes.",
    ),
)
