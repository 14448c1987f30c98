"""All measures by name. One row adds one; nothing is imported before it is asked for."""

from __future__ import annotations

from flowprune.core.index import Index
from flowprune.measures.measure import Measure

MEASURES: Index[Measure] = Index(
    "MEASURES",
    {
        "magnitude": "flowprune.measures.magnitude:MAGNITUDE",
        "magnitude_l1": "flowprune.measures.magnitude:MAGNITUDE_L1",
        "bn_scale": "flowprune.measures.norm_scale:BN_SCALE",
        "loss_preservation": "flowprune.measures.first_order:LOSS_PRESERVATION",
        "biased_loss": "flowprune.measures.biased_loss:BIASED_LOSS",
        "taylor_first_order": "flowprune.measures.first_order:TAYLOR_FIRST_ORDER",
        "gradient_norm_increase": "flowprune.measures.second_order:GRADIENT_NORM_INCREASE",
        "gradient_norm_preservation": "flowprune.measures.second_order:GRADIENT_NORM_PRESERVATION",
        "norm_acceleration": "flowprune.measures.second_order:NORM_ACCELERATION",
        "fisher": "flowprune.measures.fisher:FISHER",
        "minibatch_fisher": "flowprune.measures.fisher:MINIBATCH_FISHER",
        "bn_fisher": "flowprune.measures.norm_scale:BN_FISHER",
        "snip_per_batch": "flowprune.measures.at_initialization:SNIP_PER_BATCH",
        "synflow": "flowprune.measures.synflow:SYNFLOW",
        "iter_snip": "flowprune.measures.at_initialization:ITER_SNIP",
        "force": "flowprune.measures.at_initialization:FORCE",
        "ntk_sap": "flowprune.measures.at_initialization:NTK_SAP",
        "prospr": "flowprune.measures.at_initialization:PROSPR",
        "phew": "flowprune.measures.phew:PHEW",
        "lm": "flowprune.measures.loss_models:LM",
        "obd": "flowprune.measures.loss_models:OBD",
        "qm": "flowprune.measures.loss_models:QM",
        "random": "flowprune.measures.random:RANDOM",
    },
)
