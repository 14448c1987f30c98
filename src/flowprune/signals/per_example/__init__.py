"""Gradients of each example's own loss, reduced before they are ever all held."""

from flowprune.signals.per_example.choose import Way, choose
from flowprune.signals.per_example.contribution import Consume, Contribution, Dense
from flowprune.signals.per_example.hooked import Called, Engine, PerExample, Pulled
from flowprune.signals.per_example.singly import CHUNK

__all__ = ["CHUNK", "Called", "Consume", "Contribution", "Dense", "Engine", "PerExample", "Pulled", "Way", "choose"]
