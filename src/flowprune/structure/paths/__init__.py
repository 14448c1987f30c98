"""Walks from input units to output units of a network, one weight of every layer at a time."""

from flowprune.structure.paths.graph import PathGraph, WeightLayer, Wire
from flowprune.structure.paths.reading import path_graph
from flowprune.structure.paths.walks import Visits, visit

__all__ = ["PathGraph", "Visits", "WeightLayer", "Wire", "path_graph", "visit"]
