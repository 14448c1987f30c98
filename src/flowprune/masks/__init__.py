"""Granularity, reduction, exact selection, and masks that hold."""

from flowprune.masks.apply import apply, check_zeros, masks_of, release
from flowprune.masks.apportion import apportion
from flowprune.masks.expand import expand
from flowprune.masks.masks import LayerCount, Masks, Scores
from flowprune.masks.pools import Pool, Scope, check_scope, pools, require_use, share_of
from flowprune.masks.reduce import MEMBERS, REDUCERS, Reducer, read_members, reduce
from flowprune.masks.select import fitting, floors, remove_lowest, select
from flowprune.masks.weights import Weights

__all__ = [
    "MEMBERS",
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
    "fitting",
    "floors",
    "masks_of",
    "pools",
    "read_members",
    "reduce",
    "release",
    "remove_lowest",
    "require_use",
    "select",
    "share_of",
]
