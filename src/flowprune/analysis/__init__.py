"""What pruning did and why: gradient flow, change of loss, agreement of measures. Never imports prune."""

from flowprune.analysis.agreement import Agreement, Correlation, agreement, correlation, mask_distance, pearson
from flowprune.analysis.gradient_flow import Flow, corrected_velocity, flow
from flowprune.analysis.loss_change import measured_change, predicted_change, predicted_gradient_norm_change
from flowprune.analysis.measured_flow import MeasuredFlow, measured_flow
from flowprune.analysis.training_flow import FollowedSteps, StepChange, predicted_step

__all__ = [
    "Agreement",
    "Correlation",
    "Flow",
    "FollowedSteps",
    "MeasuredFlow",
    "StepChange",
    "agreement",
    "corrected_velocity",
    "correlation",
    "flow",
    "mask_distance",
    "measured_change",
    "measured_flow",
    "pearson",
    "predicted_change",
    "predicted_gradient_norm_change",
    "predicted_step",
]
