"""What pruning did and why: gradient flow, change of loss, agreement of measures, components. Never imports prune."""

from flowprune.analysis.agreement import Agreement, Correlation, agreement, correlation, mask_distance, pearson
from flowprune.analysis.components.average import ComponentValue, ImportanceRecord
from flowprune.analysis.components.importance import ComponentImportance
from flowprune.analysis.components.metric import COMPONENT_METRICS, ComponentMetric, posterior_variance
from flowprune.analysis.gradient_flow import Flow, corrected_velocity, flow
from flowprune.analysis.loss_change import measured_change, predicted_change, predicted_gradient_norm_change
from flowprune.analysis.measured_flow import MeasuredFlow, measured_flow
from flowprune.analysis.training_flow import FollowedSteps, StepChange, predicted_step

__all__ = [
    "COMPONENT_METRICS",
    "Agreement",
    "ComponentImportance",
    "ComponentMetric",
    "ComponentValue",
    "Correlation",
    "Flow",
    "FollowedSteps",
    "ImportanceRecord",
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
    "posterior_variance",
    "predicted_change",
    "predicted_gradient_norm_change",
    "predicted_step",
]
