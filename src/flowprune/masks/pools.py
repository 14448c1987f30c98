"""Who competes with whom: the layers that are ranked together, and how much goes from each such pool."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any, Final, TypeAlias, cast

from torch import Tensor

from flowprune.core.errors import invalid, unknown
from flowprune.core.groups import Groups, require_sparsity_of

Scope: TypeAlias = str | Mapping[str, float] | Sequence[Sequence[str]]
"""``"global"``, ``"local"``, ``"isomorphic"``; lists of patterns; or patterns with a sparsity of their own."""

REST = "the layers that fit no pattern of scope="


@dataclass(frozen=True)
class Pool:
    """Layers ranked together.

    Attributes:
        names: Of the layers.
        total: Their units.
        sparsity: The fraction of these to be removed.
        own: Whether the scope names that fraction, so that no other one applies to it.
    """

    names: tuple[str, ...]
    total: int
    sparsity: float
    own: bool = False

    @property
    def remove(self) -> int:
        """How many of the units go."""
        return round(self.sparsity * self.total)


def pools(
    units: Mapping[str, Tensor], scope: Scope, sparsity: float | None, *, where: str = "select"
) -> tuple[Pool, ...]:
    """The pools of a scope: every layer is in exactly one.

    - ``"global"``: one pool of all layers. ``"local"``: one for each layer.
    - ``"isomorphic"``: one for each structure, see :func:`structure_of`.
    - A list of lists of patterns (``fnmatch``): one for each list.
    - A mapping of patterns to sparsities: one for each pattern, with that sparsity in place of the common one.

    Layers that fit no pattern form one more pool, with the common sparsity.

    Args:
        units: One tensor a layer: scores or masks, with their layout if they have one.
        scope: See above.
        sparsity: The common one. None where every layer has its own.
        where: The function named in errors.

    Raises:
        UnknownNameError: another word, or a pattern that fits no layer.
        ValueError: a layer is in two pools, or the common sparsity is missing.

    Source: isomorphic: Fang et al. (2024), Isomorphic Pruning for Vision Models, arXiv 2407.04616.

    Example:
        >>> import torch
        >>> layers = {"a.0": torch.ones(4), "a.1": torch.ones(4), "b": torch.ones(10)}
        >>> [(pool.names, pool.remove) for pool in pools(layers, {"a.*": 0.25}, 0.5)]
        [(('a.0', 'a.1'), 2), (('b',), 5)]
    """
    check_scope(where, scope)
    if isinstance(scope, str):
        found = _by_key(units, SCOPES[scope](units))
        return tuple(_pool(names, units, _common(where, sparsity, "the layers")) for names in found)
    own: Sequence[float | None]
    if isinstance(scope, Mapping):
        patterns = [(pattern,) for pattern in scope]
        own = [float(value) for value in scope.values()]
    else:
        patterns = [tuple(group) for group in scope]
        own = [None] * len(patterns)
    found, rest = _by_pattern(units, patterns, where)
    if rest:
        found, own = [*found, rest], [*own, None]
    return tuple(
        _pool(names, units, _common(where, sparsity, REST) if mine is None else mine, own=mine is not None)
        for names, mine in zip(found, own, strict=True)
    )


def require_use(where: str, sparsity: float | None, found: Sequence[Pool]) -> None:
    """Raise where a common sparsity applies to no pool: it would be asked for and not be reached.

    Raises:
        ValueError: every pool has a sparsity of its own.
    """
    if sparsity is not None and all(pool.own for pool in found):
        todo = "Leave it out, or take a pattern out of scope=."
        raise invalid(f"{where}(sparsity=)", "None where scope= names the sparsity of every layer", sparsity, todo)


def require_patterns(where: str, found: Iterable[Pool], groups: Groups) -> None:
    """Raise where a pool is not cut to the sparsity that the patterns of its layers have, such as N:M.

    Raises:
        ValueError: with the sparsity that they have.
    """
    for pool in found:
        for name in groups.keys() & set(pool.names):
            require_sparsity_of(f"{where}({'scope' if pool.own else 'sparsity'}=)", groups[name], pool.sparsity)


def check_scope(where: str, scope: object) -> None:
    """Raise where a scope has not the form of one; whether its patterns fit is seen with the layers.

    Raises:
        UnknownNameError: another word.
        ValueError: another form.
    """
    rule = 'a word, a list of lists of patterns such as [["a.*"], ["b.*"]], or a mapping of patterns to sparsities'
    if isinstance(scope, str):
        if scope not in SCOPES:
            raise unknown(f"{where}(scope=)", scope, SCOPES)
    elif isinstance(scope, Mapping):
        named = cast("Mapping[Any, Any]", scope)
        if not named or not all(isinstance(pattern, str) for pattern in named):
            raise invalid(f"{where}(scope=)", rule, scope)
        for pattern, value in named.items():
            if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= float(value) < 1.0:
                todo = "To keep a fraction d, write 1-d."
                raise invalid(f"{where}(scope=): sparsity of {pattern!r}", "in [0, 1)", value, todo)
    elif not isinstance(scope, (list, tuple)) or not scope or not all(map(_is_patterns, cast("list[Any]", scope))):
        raise invalid(f"{where}(scope=)", rule, scope)


def share_of(scope: Scope, progress: float) -> Scope:
    """The scope with sparsities of its own taken to a share of themselves: where a round on the way to them ends.

    Example:
        >>> share_of({"a.*": 0.5}, 0.5), share_of("global", 0.5)
        ({'a.*': 0.25}, 'global')
    """
    if isinstance(scope, Mapping):
        return {pattern: float(value) * progress for pattern, value in scope.items()}
    return scope


def structure_of(name: str, units: Tensor, layout: Groups) -> Hashable:
    """What makes two layers isomorphic: of channels and heads, the parts of one unit; of weights, the layer's shape.

    How many channels there are does not count, see :attr:`UnitGroup.structure
    <flowprune.core.units.UnitGroup.structure>`. Patterns of weights are alike where weight and pattern are.

    Example:
        >>> import torch
        >>> from flowprune.core.units import rows
        >>> layout = {"a": rows("a", 2), "b": rows("b", 5)}
        >>> structure_of("a", torch.ones(2), layout) == structure_of("b", torch.ones(5), layout)
        True
    """
    group = layout.get(name)
    return tuple(units.shape) if group is None else group.structure


def _keys_of_structures(units: Mapping[str, Tensor]) -> list[Hashable]:
    layout: Groups = getattr(units, "layout", None) or {}
    return [structure_of(name, value, layout) for name, value in units.items()]


SCOPES: Final[Mapping[str, Callable[[Mapping[str, Tensor]], list[Hashable]]]] = {
    "global": lambda units: [None] * len(units),
    "local": list,
    "isomorphic": _keys_of_structures,
}
"""Word -> a key for each layer: layers of one key are one pool."""


def _by_key(units: Iterable[str], keys: Iterable[Hashable]) -> list[list[str]]:
    found: dict[Hashable, list[str]] = {}
    for name, key in zip(units, keys, strict=True):
        found.setdefault(key, []).append(name)
    return list(found.values())


def _by_pattern(
    units: Mapping[str, Tensor], patterns: Sequence[Sequence[str]], where: str
) -> tuple[list[list[str]], list[str]]:
    """The layers of each pool, and those of none."""
    for pattern in (pattern for group in patterns for pattern in group):
        if not any(fnmatchcase(name, pattern) for name in units):
            raise unknown(f"{where}(scope=)", pattern, units)
    found: list[list[str]] = [[] for _ in patterns]
    rest: list[str] = []
    for name in units:
        fits = [i for i, group in enumerate(patterns) if any(fnmatchcase(name, pattern) for pattern in group)]
        if len(fits) > 1:
            both = [list(patterns[i]) for i in fits]
            raise invalid(f"{where}(scope=)", "patterns that put each layer in one pool", f"{name!r} in {both}")
        (found[fits[0]] if fits else rest).append(name)
    return found, rest


def _common(where: str, sparsity: float | None, whose: str) -> float:
    if sparsity is None:
        todo = "Only scores of one N:M pattern have a sparsity of their own."
        raise invalid(f"{where}(sparsity=)", f"given for {whose}", None, todo)
    return sparsity


def _pool(names: Sequence[str], units: Mapping[str, Tensor], sparsity: float, *, own: bool = False) -> Pool:
    return Pool(tuple(names), sum(units[name].numel() for name in names), float(sparsity), own)


def _is_patterns(group: object) -> bool:
    return (
        isinstance(group, (list, tuple)) and bool(group) and all(isinstance(p, str) for p in cast("list[Any]", group))
    )
