"""Published methods as they were published, one file a paper: parts of this library, put together."""

from flowprune.prune.recipes.imp import ImpOptions, Level, Tickets, imp
from flowprune.prune.recipes.rewinding import REWINDS, Rewind, redrawn

__all__ = ["REWINDS", "ImpOptions", "Level", "Rewind", "Tickets", "imp", "redrawn"]
