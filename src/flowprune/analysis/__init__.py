"""What pruning did and why: flow, change of loss, agreement, components, the paper's claims. Never imports prune."""

from flowprune.analysis import mean_field
from flowprune.analysis.agreement import Agreement, Correlation, agreement, correlation, mask_distance, pearson
from flowprune.analysis.compensated_change import CompensatedChange, compensated_change
from flowprune.analysis.components.average import ComponentValue, ImportanceRecord
from flowprune.analysis.components.importance import ComponentImportance
from flowprune.analysis.components.metric import COMPONENT_METRICS, ComponentMetric, posterior_variance
from flowprune.analysis.gradient_flow import Flow, corrected_velocity, flow
from flowprune.analysis.loss_change import LossChange, loss_change, measured_change, step_change
from flowprune.analysis.measured_flow import MeasuredFlow, measured_flow
from flowprune.analysis.observation import Observation, Observations
from flowprune.analysis.observe import observations
from flowprune.analysis.short_training import ShortTraining
from flowprune.analysis.training_flow import FollowedSteps, StepChange, predicted_step
from flowprune.core.interval import Interval, student_interval
from flowprune.measures.predicted import predicted_change, predicted_gradient_norm_change, predicted_step_change
from flowprune.signals.step import curvature_along, measured_step_change

__all__ = [
    "COMPONENT_METRICS",
    "Agreement",
    "CompensatedChange",
    "ComponentImportance",
    "ComponentMetric",
    "ComponentValue",
    "Correlation",
    "Flow",
    "FollowedSteps",
    "ImportanceRecord",
    "Interval",
    "LossChange",
    "MeasuredFlow",
    "Observation",
    "Observations",
    "ShortTraining",
    "StepChange",
    "agreement",
    "compensated_change",
    "corrected_velocity",
    "correlation",
    "curvature_along",
    "flow",
    "loss_change",
    "mask_distance",
    "mean_field",
    "measured_change",
    "measured_flow",
    "measured_step_change",
    "observations",
    "pearson",
    "posterior_variance",
    "predicted_change",
    "predicted_gradient_norm_change",
    "predicted_step",
    "predicted_step_change",
    "step_change",
    "student_interval",
]
