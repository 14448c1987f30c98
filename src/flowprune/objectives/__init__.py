"""Objectives: what is minimised, as an argument. Importing them does not import torch."""

from collections.abc import Callable

from flowprune.core.index import Index
from flowprune.objectives.after_training import AfterTraining, after_training
from flowprune.objectives.cross_entropy import cross_entropy
from flowprune.objectives.mean_squared_error import mean_squared_error
from flowprune.objectives.objective import Objective
from flowprune.objectives.synaptic_flow import SynapticFlow, synaptic_flow
from flowprune.objectives.tangent_kernel import TangentKernel, tangent_kernel

OBJECTIVES: Index[Callable[..., Objective | SynapticFlow | TangentKernel | AfterTraining]] = Index(
    "OBJECTIVES",
    {
        "after_training": "flowprune.objectives.after_training:after_training",
        "cross_entropy": "flowprune.objectives.cross_entropy:cross_entropy",
        "mean_squared_error": "flowprune.objectives.mean_squared_error:mean_squared_error",
        "synaptic_flow": "flowprune.objectives.synaptic_flow:synaptic_flow",
        "tangent_kernel": "flowprune.objectives.tangent_kernel:tangent_kernel",
    },
)
"""Makers of objectives, by name."""

__all__ = [
    "OBJECTIVES",
    "AfterTraining",
    "Objective",
    "SynapticFlow",
    "TangentKernel",
    "after_training",
    "cross_entropy",
    "mean_squared_error",
    "synaptic_flow",
    "tangent_kernel",
]
