"""Magnitude before training: cut the smallest weights."""

from flowprune.core.source import Source
from flowprune.prune.recipe import Recipe

MAGNITUDE = Recipe(
    name="magnitude",
    measure="magnitude",
    source=Source("Han, Pool, Tran & Dally", 2015, "Learning both Weights and Connections", arxiv="1506.02626"),
    data="none",
    deviations=("It is published for trained networks; before training it is a baseline.",),
)
