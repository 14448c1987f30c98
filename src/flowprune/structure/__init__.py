"""Channels and blocks: what can be removed, the removal, and what it saves."""

from flowprune.structure.channels import Channels
from flowprune.structure.cost import Cost, measure_cost
from flowprune.structure.cut import CutPlan, cut_
from flowprune.structure.depth import Depth, trace_depth
from flowprune.structure.forecast import Forecast
from flowprune.structure.heads import Heads
from flowprune.structure.latency import Latency, latency
from flowprune.structure.latency_table import LatencyTable, Widths
from flowprune.structure.layer_latency import LayerLatencies
from flowprune.structure.masked import masked_tensors
from flowprune.structure.peak import peak_memory
from flowprune.structure.records import Refusal, Trace
from flowprune.structure.rehearsal import rehearse
from flowprune.structure.remove import remove
from flowprune.structure.savings import CostReport, cost_report
from flowprune.structure.slicing import slice_layout
from flowprune.structure.speed import Speed, compare_speed
from flowprune.structure.trace import trace
from flowprune.structure.verify import same_function

__all__ = [
    "Channels",
    "Cost",
    "CostReport",
    "CutPlan",
    "Depth",
    "Forecast",
    "Heads",
    "Latency",
    "LatencyTable",
    "LayerLatencies",
    "Refusal",
    "Speed",
    "Trace",
    "Widths",
    "compare_speed",
    "cost_report",
    "cut_",
    "latency",
    "masked_tensors",
    "measure_cost",
    "peak_memory",
    "rehearse",
    "remove",
    "same_function",
    "slice_layout",
    "trace",
    "trace_depth",
]
