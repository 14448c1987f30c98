"""SBP with the rescaling trick: kept weights are multiplied until each layer has the variance that it had before."""

from flowprune.objectives import cross_entropy
from flowprune.prune.recipe import Recipe
from flowprune.prune.recipes.sbp_sr import ROBUST

SBP_RESCALED = Recipe(
    name="sbp_rescaled",
    measure="loss_preservation",
    source=ROBUST,
    data="labels",
    objective=cross_entropy,
    rescale="layer",
    deviations=(
        "The target is each layer's variance before pruning; the printed formula sets it to 1 / fan-in, at which a "
        "relu network loses half of its signal with each layer.",
        "Initialise at the edge of chaos first: fp.models.initializers.edge_of_chaos_.",
    ),
)
