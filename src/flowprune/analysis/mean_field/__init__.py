"""What wide layers do to signals and gradients with depth, and where they do nothing: the edge of chaos."""

from flowprune.analysis.mean_field.critical_sparsity import CriticalSparsity, critical_sparsity
from flowprune.analysis.mean_field.layers import LayerChi, LayersChi, layer_chi
from flowprune.analysis.mean_field.maps import chi, correlation_map, score_scale, variance_map
from flowprune.analysis.mean_field.sensitivities import Sensitivities, sensitivities
from flowprune.models.edge_of_chaos import ACTIVATIONS, EdgeOfChaos, edge_of_chaos

__all__ = [
    "ACTIVATIONS",
    "CriticalSparsity",
    "EdgeOfChaos",
    "LayerChi",
    "LayersChi",
    "Sensitivities",
    "chi",
    "correlation_map",
    "critical_sparsity",
    "edge_of_chaos",
    "layer_chi",
    "score_scale",
    "sensitivities",
    "variance_map",
]
