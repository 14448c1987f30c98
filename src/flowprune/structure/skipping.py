"""Patterns of names that a granularity does not offer."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from flowprune.core.errors import invalid
from flowprune.core.units import Layout


def require_patterns(where: str, skip: object) -> None:
    """Raise unless ``skip`` is a collection of patterns: a string is one of letters."""
    if isinstance(skip, str):
        raise invalid(where, "a tuple of patterns", skip, f"Write skip=({skip!r},).")


def unskipped(where: str, groups: Layout, skip: tuple[str, ...], params: Iterable[str]) -> Layout:
    """The groups that no pattern of ``skip`` fits.

    Raises:
        ValueError: a pattern fits neither a group nor a parameter.
    """
    known = {*params, *groups}
    for pattern in skip:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise invalid(where, "patterns of parameter names", pattern, f"There are {list(groups)}.")
    return {n: g for n, g in groups.items() if not any(fnmatchcase(n, pattern) for pattern in skip)}
