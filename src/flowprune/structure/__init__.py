"""Channels and blocks: what can be removed, the removal, and what it saves."""

from flowprune.structure.channels import Channels
from flowprune.structure.cost import Cost, measure_cost
from flowprune.structure.cut import CutPlan, cut_
from flowprune.structure.depth import Depth, trace_depth
from flowprune.structure.latency import Latency, latency
from flowprune.structure.masked import masked_tensors
from flowprune.structure.records import Refusal, Trace
from flowprune.structure.rehearsal import rehearse
from flowprune.structure.remove import remove
from flowprune.structure.slicing import slice_layout
from flowprune.structure.trace import trace
from flowprune.structure.verify import same_function

__all__ = [
    "Channels",
    "Cost",
    "CutPlan",
    "Depth",
    "Latency",
    "Refusal",
    "Trace",
    "cut_",
    "latency",
    "masked_tensors",
    "measure_cost",
    "rehearse",
    "remove",
    "same_function",
    "slice_layout",
    "trace",
    "trace_depth",
]
