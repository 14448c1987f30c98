"""Iterative SNIP: the scores of SNIP, taken anew of what is left after each of ten rounds."""

from flowprune.core.source import Source
from flowprune.objectives import cross_entropy
from flowprune.prune.recipe import Recipe

PROGRESSIVE = Source(
    "de Jorge, Sanyal, Behl, Torr, Rogez & Dokania",
    2021,
    "Progressive Skeletonization: Trimming more fat from a network at initialization",
    arxiv="2006.09081",
)
"""Also the paper of FORCE."""

SHARED = (
    "The loss is cross-entropy; the published code scores with the negative logit of the class, by mistake.",
    "All rounds see the batches given; the published code draws the first batch of a new loader in each.",
    "The paper's examples take 60 rounds; ten is the default of its code.",
)
"""Deviations of both methods of the paper."""

ITER_SNIP = Recipe(
    name="iter_snip",
    measure="iter_snip",
    source=PROGRESSIVE,
    data="labels",
    objective=cross_entropy,
    rounds=10,
    rule={"mode": "train"},
    deviations=(
        *SHARED,
        "What is cut stays cut by mask; the published code gives it the least score, with which it can come back.",
    ),
)
