"""SNIP: cut the weights whose removal moves the loss least, once, before training."""

from flowprune.core.source import Source
from flowprune.objectives import cross_entropy
from flowprune.prune.recipe import Recipe

SNIP = Recipe(
    name="snip",
    measure="loss_preservation",
    source=Source("Lee, Ajanthan & Torr", 2019, "SNIP: Single-shot Network Pruning", arxiv="1810.02340"),
    data="labels",
    objective=cross_entropy,
    rule={"mode": "train"},
    deviations=(
        "Scores are of the weights that are trained; the official code scores one draw of weights and trains another: "
        "score_on='fresh_draw'.",
        "Biases are not pruned; the official code prunes them.",
        "Gradients of batches are averaged before the absolute value is taken; measure='snip_per_batch' takes it of "
        "each batch.",
        "Scores are not divided by their sum, which changes no order.",
        "Batch norms use the statistics of the scoring batch, as most later code does; the official code scores in "
        "inference mode: mode='eval'.",
    ),
)
