"""GraSP: cut the weights whose removal raises the norm of the gradient most."""

from functools import partial

from flowprune.measures import MEASURES
from flowprune.objectives import cross_entropy
from flowprune.prune.recipe import Recipe

GRASP = Recipe(
    name="grasp",
    measure="gradient_norm_increase",
    source=MEASURES["gradient_norm_increase"].source,
    data="labels",
    objective=partial(cross_entropy, temperature=200.0),
    rule={"mode": "train"},
    deviations=(
        "The highest θ·Hg are kept, which the paper's formula -θ·Hg cuts last; code that was in use in 2020 kept the "
        "lowest.",
        "H g is exact over all batches together; the published code takes the gradient of two halves of the classes, "
        "each with batch statistics of its own.",
        "Linear layers keep their weights; the published code draws them anew for scoring.",
        "The exact number of weights goes; the published threshold keeps one more, and all that tie with it.",
    ),
)
