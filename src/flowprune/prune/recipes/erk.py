"""Random pruning with Erdős-Rényi-Kernel densities: small layers stay denser."""

from flowprune.core.source import Source
from flowprune.prune.recipe import Recipe

ERK = Recipe(
    name="erk",
    measure="random",
    source=Source("Evci, Gale, Menick, Castro & Elsen", 2020, "Rigging the Lottery", arxiv="1911.11134"),
    data="none",
    densities="erk",
    deviations=("Layers have exactly their number of weights; the published code draws each weight by itself.",),
)
