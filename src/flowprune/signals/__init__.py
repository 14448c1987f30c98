"""The only place that runs a model to learn about it."""

from flowprune.signals.curvature.asked import Curvature
from flowprune.signals.direction import hessian_product
from flowprune.signals.gather import gather
from flowprune.signals.loss import mean_loss
from flowprune.signals.moments import Moments
from flowprune.signals.paths import effective_weights
from flowprune.signals.signals import NEEDS, Mode, Signals

__all__ = [
    "NEEDS",
    "Curvature",
    "Mode",
    "Moments",
    "Signals",
    "effective_weights",
    "gather",
    "hessian_product",
    "mean_loss",
]
