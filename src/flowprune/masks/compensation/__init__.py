"""Kept weights that make up for those that are cut."""

from flowprune.masks.compensation.compensate import compensate
from flowprune.masks.compensation.record import Compensation, OutputError

__all__ = ["Compensation", "OutputError", "compensate"]
