"""SynFlow: no data; cut what carries least of the flow through a network of positive weights, in a hundred rounds."""

from flowprune.measures import MEASURES
from flowprune.objectives import synaptic_flow
from flowprune.prune.recipe import Recipe

SYNFLOW = Recipe(
    name="synflow",
    measure="synflow",
    source=MEASURES["synflow"].source,
    data="inputs",
    objective=synaptic_flow,
    rounds=100,
    deviations=(
        "Scores are in float64, on a copy; the published code has float32, in which deep networks underflow into ties.",
        "Biases and running means are zero while scoring, so that flow is conserved; the published code takes their "
        "absolute values: objective=fp.objectives.synaptic_flow(shifts=True).",
        "What a round cut stays cut, by mask and not by its score of zero.",
    ),
)
