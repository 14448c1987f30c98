"""ProsPr: cut the weights that matter least to the loss after three steps of training."""

from flowprune.measures import MEASURES
from flowprune.objectives import after_training
from flowprune.prune.recipe import Recipe

PROSPR = Recipe(
    name="prospr",
    measure="prospr",
    source=MEASURES["prospr"].source,
    data="labels",
    objective=after_training,
    rule={"mode": "train"},
    deviations=(
        "Any module can be trained; the published code knows three kinds of layers.",
        "With a momentum the first step counts like the others; the published code detaches it.",
        "Steps and evaluation see the same batch, as in its code's command line; its library takes new ones.",
    ),
)
