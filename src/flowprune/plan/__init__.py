"""Plans: a pruned model saved without pickles, loaded, and replayed; and what goes with it in training."""

from flowprune.plan.carrying import carry
from flowprune.plan.folder import FORMAT, read_plan
from flowprune.plan.loading import load, replay
from flowprune.plan.operations import OPERATIONS, Kind, Masking
from flowprune.plan.optimizer_states import carry_state
from flowprune.plan.records import Plan, plan_of
from flowprune.plan.saving import save
from flowprune.plan.verifying import Verified, verify

__all__ = [
    "FORMAT",
    "OPERATIONS",
    "Kind",
    "Masking",
    "Plan",
    "Verified",
    "carry",
    "carry_state",
    "load",
    "plan_of",
    "read_plan",
    "replay",
    "save",
    "verify",
]
