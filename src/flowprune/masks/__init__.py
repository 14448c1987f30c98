"""Granularity, reduction, exact selection, and masks that hold."""

from flowprune.masks.apportion import apportion
from flowprune.masks.apply import apply, check_zeros, masks_of, release
from flowprune.masks.expand import expand
from flowprune.masks.masks import LayerCount, Masks, Scores
from flowprune.masks.pools import Pool, Scope, check_scope, pools, share_of
from flowprune.masks.reduce import REDUCERS, Reducer, reduce
from flowprune.masks.select import floors, remove_lowest, select
from flowprune.masks.weights import Weights

__all__ = [
    "REDUCERS",
    "LayerCount",
    "Masks",
    "Pool",
    "Reducer",
    "Scope",
    "Scores",
    "Weights",
    "apply",
    "apportion",
    "check_scope",
    "check_zeros",
    "expand",
    "floors",
    "masks_of",
    "pools",
    "reduce",
    "release",
    "remove_lowest",
    "select",
    "share_of",
]
