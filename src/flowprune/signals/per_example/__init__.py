"""Gradients of each example's own loss, reduced before they are ever all held."""

from flowprune.signals.per_example.choose import choose
from flowprune.signals.per_example.contribution import Consume, Contribution, Dense
from flowprune.signals.per_example.hooked import Engine, PerExample

__all__ = ["Consume", "Contribution", "Dense", "Engine", "PerExample", "choose"]
