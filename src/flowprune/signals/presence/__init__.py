"""What of a network is there: every operation passes one where a path from the input arrives, and zero elsewhere."""

from flowprune.signals.presence.mode import Passing
from flowprune.signals.presence.present import TINY

__all__ = ["TINY", "Passing"]
