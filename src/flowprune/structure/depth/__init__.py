"""Whole residual blocks: which can be taken out, and the taking out."""

from flowprune.structure.depth.drop import Dropped, drop_, gone_blocks
from flowprune.structure.depth.granularity import Depth
from flowprune.structure.depth.names import moved, renamed, subset
from flowprune.structure.depth.trace import trace_depth

__all__ = ["Depth", "Dropped", "drop_", "gone_blocks", "moved", "renamed", "subset", "trace_depth"]
