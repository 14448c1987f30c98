"""Packages that only some functions need: asked for where they are used, and told how to get."""

from __future__ import annotations

from importlib.util import find_spec

from flowprune.core.errors import PruningError

EXTRAS = {
    "hf": ("transformers",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
}
"""The modules of each optional set of dependencies."""


def missing(extra: str) -> tuple[str, ...]:
    """The modules of an extra that are not installed; nothing is imported.

    Raises:
        KeyError: there is no such extra.
    """
    return tuple(name for name in EXTRAS[extra] if find_spec(name) is None)


def require_extra(where: str, extra: str) -> None:
    """Raise where a module of an extra is not installed.

    Raises:
        PruningError: with the command that installs it.
    """
    absent = missing(extra)
    if absent:
        raise PruningError(f"{where} needs {', '.join(absent)}, not installed here. {command(extra)}")


def command(extra: str) -> str:
    """What installs an extra.

    Example:
        >>> command("onnx")
        "Run: pip install 'flowprune[onnx]'."
    """
    return f"Run: pip install 'flowprune[{extra}]'."
