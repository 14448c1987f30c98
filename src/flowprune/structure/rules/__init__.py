"""What each operation does to channels: one function per kind of operation, one table."""

from flowprune.structure.rules.table import Row, Rule, rules

__all__ = ["Row", "Rule", "rules"]
