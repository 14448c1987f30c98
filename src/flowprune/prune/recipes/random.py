"""Random pruning: every weight with the same chance."""

from flowprune.core.source import Source
from flowprune.prune.recipe import Recipe

RANDOM_PRUNING = Source(
    "Liu, Chen, Chen, Shen, Mocanu, Wang & Pechenizkiy",
    2022,
    "The Unreasonable Effectiveness of Random Pruning",
    arxiv="2202.02643",
)

RANDOM = Recipe(
    name="random",
    measure="random",
    source=RANDOM_PRUNING,
    data="none",
    deviations=("Exactly the asked number goes; the published code draws each weight by itself.",),
)
