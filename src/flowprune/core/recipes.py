"""Recipes by name: published methods, in the words of specs, the command line and reports.

One row adds one; reading a name imports nothing.
"""

from __future__ import annotations

from typing import Any, Final

from flowprune.core.index import Index

RECIPES: Final[Index[Any]] = Index(
    "RECIPES",
    {
        "snip": "flowprune.prune.recipes.snip:SNIP",
        "grasp": "flowprune.prune.recipes.grasp:GRASP",
        "grasp_abs": "flowprune.prune.recipes.grasp_abs:GRASP_ABS",
        "synflow": "flowprune.prune.recipes.synflow:SYNFLOW",
        "iter_snip": "flowprune.prune.recipes.iter_snip:ITER_SNIP",
        "force": "flowprune.prune.recipes.force:FORCE",
        "ntk_sap": "flowprune.prune.recipes.ntk_sap:NTK_SAP",
        "prospr": "flowprune.prune.recipes.prospr:PROSPR",
        "phew": "flowprune.prune.recipes.phew:PHEW",
        "sbp_sr": "flowprune.prune.recipes.sbp_sr:SBP_SR",
        "sbp_rescaled": "flowprune.prune.recipes.sbp_rescaled:SBP_RESCALED",
        "magnitude": "flowprune.prune.recipes.magnitude:MAGNITUDE",
        "random": "flowprune.prune.recipes.random:RANDOM",
        "erk": "flowprune.prune.recipes.erk:ERK",
        "uniform": "flowprune.prune.recipes.uniform:UNIFORM",
        "uniform_plus": "flowprune.prune.recipes.uniform_plus:UNIFORM_PLUS",
    },
)
"""What :func:`flowprune.prune` takes as ``recipe=``."""
