"""Granularity, reduction, exact selection, and masks that hold."""

from flowprune.masks.ablations import invert, shuffle
from flowprune.masks.allocation import Allocation
from flowprune.masks.apply import apply, check_zeros, masks_of, release
from flowprune.masks.apportion import apportion
from flowprune.masks.blocks import Blocks
from flowprune.masks.compensation.compensate import compensate
from flowprune.masks.compensation.record import Compensation, OutputError
from flowprune.masks.critical import Critical, largest_safe_sparsity
from flowprune.masks.densities import erdos_renyi, erdos_renyi_kernel, uniform, uniform_plus
from flowprune.masks.density_names import DENSITIES
from flowprune.masks.expand import expand
from flowprune.masks.masks import LayerCount, Masks, Scores
from flowprune.masks.n_m import NM, is_n_m
from flowprune.masks.overlaps import Overlap, Shared, overlap
from flowprune.masks.pools import Pool, Scope, check_scope, pools, require_patterns, require_use, share_of
from flowprune.masks.reached import reached_units, require_reached
from flowprune.masks.reduce import REDUCERS, Reducer, reduce
from flowprune.masks.rescale import rescale
from flowprune.masks.select import fitting, floors, remove_from, remove_lowest, select, select_round
from flowprune.masks.shapes import weight_shapes
from flowprune.masks.weight_group import WeightGroup
from flowprune.masks.weights import Weights

__all__ = [
    "DENSITIES",
    "NM",
    "REDUCERS",
    "Allocation",
    "Blocks",
    "Compensation",
    "Critical",
    "LayerCount",
    "Masks",
    "OutputError",
    "Overlap",
    "Pool",
    "Reducer",
    "Scope",
    "Scores",
    "Shared",
    "WeightGroup",
    "Weights",
    "apply",
    "apportion",
    "check_scope",
    "check_zeros",
    "compensate",
    "erdos_renyi",
    "erdos_renyi_kernel",
    "expand",
    "fitting",
    "floors",
    "invert",
    "is_n_m",
    "largest_safe_sparsity",
    "masks_of",
    "overlap",
    "pools",
    "reached_units",
    "reduce",
    "release",
    "remove_from",
    "remove_lowest",
    "require_patterns",
    "require_reached",
    "require_use",
    "rescale",
    "select",
    "select_round",
    "share_of",
    "shuffle",
    "uniform",
    "uniform_plus",
    "weight_shapes",
]
