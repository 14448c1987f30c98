"""GraSP by absolute value: cut the weights whose removal changes the norm of the gradient least."""

from functools import partial

from flowprune.measures import MEASURES
from flowprune.objectives import cross_entropy
from flowprune.prune.recipe import Recipe

GRASP_ABS = Recipe(
    name="grasp_abs",
    measure="gradient_norm_preservation",
    source=MEASURES["snip_per_batch"].source,
    data="labels",
    objective=partial(cross_entropy, temperature=200.0),
    rule={"mode": "train"},
    deviations=(
        "H g is of the gradient over all batches; the published code takes H g of each batch with its own gradient, "
        "and averages the scores.",
    ),
)
