"""What wide layers do to signals and gradients with depth, and where they do nothing: the edge of chaos."""

from flowprune.analysis.mean_field.maps import chi, correlation_map, score_scale, variance_map
from flowprune.models.edge_of_chaos import ACTIVATIONS, EdgeOfChaos, edge_of_chaos

__all__ = ["ACTIVATIONS", "EdgeOfChaos", "chi", "correlation_map", "edge_of_chaos", "score_scale", "variance_map"]
