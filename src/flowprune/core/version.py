"""The version, as a literal: reading it costs nothing."""

__version__ = "0.1.0"
