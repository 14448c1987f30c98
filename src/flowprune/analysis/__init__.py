"""What pruning did and why: gradient flow, change of loss, agreement, the paper's claims. Never imports prune."""

from flowprune.analysis.agreement import Agreement, agreement, mask_distance, pearson
from flowprune.analysis.gradient_flow import Flow, corrected_velocity, flow
from flowprune.analysis.interval import Interval, student_interval
from flowprune.analysis.loss_change import measured_change, predicted_change, predicted_gradient_norm_change
from flowprune.analysis.measured_flow import MeasuredFlow, measured_flow
from flowprune.analysis.observation import Observation, Observations
from flowprune.analysis.observe import observations
from flowprune.analysis.short_training import ShortTraining

__all__ = [
    "Agreement",
    "Flow",
    "Interval",
    "MeasuredFlow",
    "Observation",
    "Observations",
    "ShortTraining",
    "agreement",
    "corrected_velocity",
    "flow",
    "mask_distance",
    "measured_change",
    "measured_flow",
    "observations",
    "pearson",
    "predicted_change",
    "predicted_gradient_norm_change",
    "student_interval",
]
