"""Iterative SNIP: the scores of SNIP, taken anew of what is left after each of ten rounds."""

from flowprune.measures import MEASURES
from flowprune.objectives import cross_entropy
from flowprune.prune.recipe import Recipe

SHARED = (
    "The loss is cross-entropy; the published code scores with the negative logit of the class, by mistake.",
    "All rounds see the batches given; the published code draws the first batch of a new loader in each.",
    "The paper's examples take 60 rounds; ten is the default of its code.",
)
"""Deviations of both methods of the paper."""

ITER_SNIP = Recipe(
    name="iter_snip",
    measure="iter_snip",
    source=MEASURES["iter_snip"].source,
    data="labels",
    objective=cross_entropy,
    rounds=10,
    rule={"mode": "train"},
    deviations=(
        *SHARED,
        "What is cut stays cut by mask; the published code gives it the least score, with which it can come back.",
    ),
)
