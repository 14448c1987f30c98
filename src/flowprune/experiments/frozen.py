"""A mapping that stays as it is, so that a spec which holds one can be hashed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

K = TypeVar("K", bound=str)
V_co = TypeVar("V_co", covariant=True)


class Frozen(Mapping[K, V_co]):
    """A mapping that nobody can change; equal to any mapping with the same items, and hashable where they are.

    As the type of a pydantic field it is validated, and written out, as a dictionary.

    Example:
        >>> options = Frozen({"widths": (12, 8)})
        >>> options == {"widths": (12, 8)}, hash(options) == hash(Frozen(options))
        (True, True)
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[K, V_co] | None = None) -> None:
        self._items: dict[K, V_co] = dict(items or {})

    def __getitem__(self, key: K) -> V_co:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A dictionary of the same keys and values, frozen once it is valid."""
        keys, values = get_args(source)
        inner = handler.generate_schema(dict[keys, values])
        frozen = core_schema.no_info_after_validator_function(cls, inner)
        return core_schema.json_or_python_schema(
            json_schema=frozen,
            python_schema=core_schema.no_info_before_validator_function(_thawed, frozen),
            serialization=core_schema.plain_serializer_function_ser_schema(dict),
        )


def _thawed(value: object) -> object:
    """What pydantic takes for a dictionary."""
    return dict(value) if isinstance(value, Frozen) else value
