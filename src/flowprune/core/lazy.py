"""Package attributes that are imported when they are first asked for (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy(package: str, targets: Mapping[str, str]) -> Callable[[str], object]:
    """A module ``__getattr__`` that finds each name at its ``"module:attribute"`` target, or at a ``"module"``.

    Assumes: no attribute has the name of a module of the package, which would shadow it once imported.

    Raises:
        AttributeError: from the returned function, for a name that is not a target.

    Example:
        >>> lazy("package", {"root": "math:sqrt"})("root")(9.0)
        3.0
        >>> lazy("package", {"maths": "math"})("maths").__name__
        'math'
    """

    def find(name: str) -> object:
        if name not in targets:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = targets[name].partition(":")
        found = import_module(module)
        return getattr(found, attribute) if attribute else found

    return find
