"""Which parameter and which unit belongs to which component, by module prefix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flowprune.core.errors import invalid
from flowprune.core.groups import Group, Groups
from flowprune.masks import Scores

UNCOVERED = "(uncovered)"
"""The name under which parameters that no component covers are reported."""
SHARED = "(shared)"
"""The name of units whose producing weights lie in several components, such as those of one residual stream."""

Prefixes = str | Sequence[str]


def assign(names: Mapping[str, str], components: Mapping[str, Prefixes]) -> dict[str, tuple[str, ...]]:
    """The parameters of each component, in the model's order, and those that none covers as :data:`UNCOVERED`.

    A prefix is a path of modules: ``"encoder"`` and ``"encoder."`` both cover ``encoder.0.weight``, and neither covers
    ``encoder2.weight``. The full name of a parameter covers it alone.

    Args:
        names: Every name of every parameter, with the name it is listed under: a tied parameter has two.
        components: One prefix or several by component.

    Raises:
        ValueError: no component, a reserved name, a prefix that covers nothing, or a parameter in two components.

    Example:
        >>> assign({"a.weight": "a.weight", "b.weight": "b.weight"}, {"first": "a"})
        {'first': ('a.weight',), '(uncovered)': ('b.weight',)}
    """
    if not components or {UNCOVERED, SHARED} & components.keys():
        rule = f"at least one, and none called {UNCOVERED!r} or {SHARED!r}"
        raise invalid("ComponentImportance(components=)", rule, dict(components))
    owner: dict[str, str] = {}
    for component, prefixes in components.items():
        for first in _covered(component, prefixes, names):
            if owner.setdefault(first, component) != component:
                got = f"{first!r} in {owner[first]!r} and {component!r}"
                todo = "Make the prefixes longer; a tied parameter belongs where one of its full names is given."
                raise invalid("ComponentImportance(components=)", "disjoint", got, todo)
    order = list(dict.fromkeys(names.values()))
    found = {component: tuple(n for n in order if owner.get(n) == component) for component in components}
    rest = tuple(name for name in order if name not in owner)
    return {**found, **({UNCOVERED: rest} if rest else {})}


def split(scores: Scores, components: Mapping[str, Sequence[str]]) -> dict[str, Scores]:
    """Scores by component; units with producing weights in several are under :data:`SHARED`.

    Shapes: the layers of ``scores``, each in one of the results.

    Example:
        >>> import torch
        >>> scores = Scores({"a.w": torch.ones(2), "b.w": torch.ones(3)})
        >>> {name: list(part) for name, part in split(scores, {"first": ["a.w"], "second": ["b.w"]}).items()}
        {'first': ['a.w'], 'second': ['b.w']}
    """
    owner = {name: component for component, names in components.items() for name in names}
    home = {name: _home(name, scores.layout, owner) for name in scores}
    parts: dict[str, Scores] = {}
    for component in (*components, SHARED):
        layers = [name for name in scores if home[name] == component]
        layout = {name: scores.layout[name] for name in layers if name in scores.layout}
        if layers:
            parts[component] = Scores(
                {name: scores[name] for name in layers}, layout=layout, fingerprint=scores.fingerprint
            )
    return parts


def _covered(component: str, prefixes: Prefixes, names: Mapping[str, str]) -> Iterator[str]:
    """The parameters that the prefixes cover, by the names they are listed under."""
    told = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
    if not told:
        raise invalid(f"ComponentImportance(components={{{component!r}: ...}})", "at least one prefix", prefixes)
    for prefix in told:
        found = [first for name, first in names.items() if name == prefix or name.startswith(f"{prefix.rstrip('.')}.")]
        if not found:
            modules = sorted({name.partition(".")[0] for name in names})
            rule = "the path of a module with parameters, or the name of a parameter"
            where = f"ComponentImportance(components={{{component!r}: ...}})"
            raise invalid(where, rule, prefix, f"The model has {', '.join(modules)}.")
        yield from found


def _home(name: str, layout: Groups, owner: Mapping[str, str]) -> str:
    homes = {owner[producer] for producer in _producers(name, layout.get(name)) if producer in owner}
    return homes.pop() if len(homes) == 1 else SHARED


def _producers(name: str, group: Group | None) -> tuple[str, ...]:
    if group is None:
        return (name,)
    return group.read("weight")
