"""NTK-SAP: no data; cut what the outputs depend on least when the weights move, over fresh weights and inputs."""

from functools import partial

from flowprune.measures import MEASURES
from flowprune.objectives import tangent_kernel
from flowprune.prune.recipe import Recipe

NTK_SAP = Recipe(
    name="ntk_sap",
    measure="ntk_sap",
    source=MEASURES["ntk_sap"].source,
    data="inputs",
    objective=partial(tangent_kernel, draws=5),
    rounds=20,
    rule={"seed": 0},
    deviations=(
        "The model keeps its weights; the published code leaves it with those it drew last.",
        "Fresh weights are normal with variance 2 / fan-in, whatever the model's own initialisation.",
        "Momenta of batch norms are left as they are; the published code sets them to 0.1.",
        "Five draws in each round, as its script for ResNet-20; the default of its code is one.",
    ),
)
