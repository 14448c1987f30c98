"""An index: names to things that are imported when they are first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Generic, TypeVar, cast

from flowprune.core.errors import unknown

T = TypeVar("T")


class Index(Mapping[str, T], Generic[T]):
    """A read-only mapping of names to ``"module:attribute"`` targets, loaded on first use.

    Listing names imports nothing, so a command line that prints them stays fast. An unknown name raises
    :class:`~flowprune.core.errors.UnknownNameError`, which lists the known ones.

    Example:
        >>> roots = Index("ROOTS", {"sqrt": "math:sqrt"})
        >>> roots["sqrt"](9.0), list(roots)
        (3.0, ['sqrt'])
    """

    def __init__(self, title: str, targets: Mapping[str, str]) -> None:
        self._title = title
        self._targets = dict(targets)
        self._loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._targets:
            raise unknown(self._title, name, self._targets)
        if name not in self._loaded:
            module, attribute = self._targets[name].split(":")
            self._loaded[name] = cast(T, getattr(import_module(module), attribute))
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def __repr__(self) -> str:
        return f"{self._title}({', '.join(self._targets)})"
