"""SBP-SR: sensitivity-based pruning of a Stable ResNet, whose branches are scaled by L^(-1/2) and stay so."""

from flowprune.core.source import Source
from flowprune.objectives import cross_entropy
from flowprune.prune.recipe import Recipe

ROBUST = Source("Hayou, Ton, Doucet & Teh", 2021, "Robust Pruning at Initialization", arxiv="2002.08797")

SBP_SR = Recipe(
    name="sbp_sr",
    measure="loss_preservation",
    source=ROBUST,
    data="labels",
    objective=cross_entropy,
    rule={"mode": "train"},
    stable=True,
    deviations=(
        "There is no published code; L is the number of all residual blocks, as where the factor was implemented.",
        "The network must be built with stable=True: the factor belongs to the model that is trained.",
    ),
)
