"""Granularity, reduction, exact selection, and masks that hold."""

from flowprune.masks.apply import apply, check_zeros, masks_of, release
from flowprune.masks.blocks import Blocks
from flowprune.masks.expand import expand
from flowprune.masks.masks import LayerCount, Masks, Scores
from flowprune.masks.n_m import NM, is_n_m
from flowprune.masks.reduce import REDUCERS, Reducer, reduce
from flowprune.masks.select import floors, remove_lowest, select, select_round
from flowprune.masks.weight_group import WeightGroup
from flowprune.masks.weights import Weights

__all__ = [
    "NM",
    "REDUCERS",
    "Blocks",
    "LayerCount",
    "Masks",
    "Reducer",
    "Scores",
    "WeightGroup",
    "Weights",
    "apply",
    "check_zeros",
    "expand",
    "floors",
    "is_n_m",
    "masks_of",
    "reduce",
    "release",
    "remove_lowest",
    "select",
    "select_round",
]
