"""Whether a schedule can be carried out at all: told before anything is cut, not when the last round falls short."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod

import torch

from flowprune.core.errors import PruningError, invalid, unknown
from flowprune.core.groups import Groups, channels_of, channelwise
from flowprune.masks import Masks, Pool, Weights, floors
from flowprune.masks.offered import LEFT_OUT
from flowprune.measures import Granularity
from flowprune.prune.published import FLOOR, entries
from flowprune.prune.rule import Rule
from flowprune.signals import Signals


@dataclass(frozen=True)
class Names:
    """What the caller's own arguments are called, so that an error names what he wrote."""

    schedule: str = "Pruner(schedule=)"
    rounds: str = "Pruner(schedule=)"
    protect: str = "Pruner(protect=)"
    floor: str = "Pruner(floor=)"


PRUNER = Names()


@dataclass(frozen=True, eq=False)
class Units:
    """What there is to cut.

    Attributes:
        sizes: Units by layer, dead ones included: the denominator.
        layout: Their groups; empty for single weights.
        dead: Units that something holds at zero already and that count as cut, by layer; layers without are left out.
    """

    sizes: Mapping[str, int]
    layout: Groups
    dead: Mapping[str, int]

    def whole(self) -> Masks:
        """Masks that keep all of them; they cost no memory."""
        kept = torch.ones((), dtype=torch.bool)
        return Masks({name: kept.expand(size) for name, size in self.sizes.items()}, layout=self.layout)


def units_of(granularity: Granularity, signals: Signals) -> Units:
    """The units that a granularity offers of a model; nothing is run but the trace.

    Example:
        >>> import torch
        >>> units_of(Weights(), Signals(params={"w": torch.ones(2, 3), "b": torch.ones(2)})).sizes
        {'w': 6, 'b': 2}
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=LEFT_OUT)  # scoring gives the same warning once more
        layout = granularity.layout(signals)
    if layout is not None:
        return Units({name: prod(group.shape) for name, group in layout.items()}, layout, {})
    names = granularity.names(signals) if isinstance(granularity, Weights) else tuple(signals.params)
    held = {name: int((~signals.masks[name]).sum()) for name in names if name in signals.masks}
    return Units({name: signals.params[name].numel() for name in names}, {}, held)


def require_feasible(units: Units, rule: Rule, rounds: int, pools: Sequence[Pool], *, names: Names = PRUNER) -> None:
    """Raise where the last target cannot be met, or a setting would be ignored.

    Args:
        units: What there is.
        rule: Floor, protection and scope.
        rounds: How many cuts there will be.
        pools: Layers that are ranked together, and what of them goes in the end.
        names: For the errors.

    Raises:
        UnknownNameError: a pattern of ``protect`` that fits no layer.
        ValueError: more rounds than units to cut, or a floor beside ``reference_compat`` that it does not have.
        PruningError: floors and protection keep more than the last target leaves.

    Example:
        >>> units = Units({"a": 4, "b": 4}, {}, {})
        >>> require_feasible(units, Rule(protect=("a",)), 1, [Pool(("a", "b"), 8, 0.75)])
        Traceback (most recent call last):
        flowprune.core.errors.PruningError: Pruner(schedule=) must leave what floors and protection keep; 6 of 8 units \
are to be cut in the end, and at most 3 can be, a sparsity of 0.375. Lower the sparsity or the floor, or protect less.
    """
    for pattern in rule.protect:
        if not any(fnmatchcase(name, pattern) for name in units.sizes):
            raise unknown(names.protect, pattern, units.sizes)
    held = any(not group.removable for group in units.layout.values())
    if rule.reference_compat:
        _require_published_floor(rule, held, names)
    removed = 0
    for found in pools:
        pool = found.names
        weight = {
            name: entries(channels_of("Pruner(reference_compat=)", units.layout), name)
            if rule.reference_compat and not held
            else 1
            for name in pool
        }
        total = sum(units.sizes[name] * weight[name] for name in pool)
        most = sum(_most(units, rule, name, held=held) * weight[name] for name in pool)
        asked = round(found.sparsity * total)
        if asked > most:
            where = f" of {', '.join(pool)}" if len(pools) > 1 else ""
            raise PruningError(
                f"{names.schedule} must leave what floors and protection keep; {asked} of {total} units{where} are to "
                f"be cut in the end, and at most {most} can be, a sparsity of {most / total:.6g}. Lower the sparsity "
                "or the floor, or protect less."
            )
        removed += asked
    if rounds > max(removed, 1):
        total = sum(units.sizes.values())
        rule_ = f"one of at most {max(removed, 1)} rounds, as {removed} of {total} units are to go"
        raise invalid(names.rounds, rule_, f"{rounds} rounds", "Cut in fewer rounds, or cut more.")


def _most(units: Units, rule: Rule, name: str, *, held: bool) -> int:
    """How many units of a layer may be gone in the end."""
    size, dead = units.sizes[name], units.dead.get(name, 0)
    if any(fnmatchcase(name, pattern) for pattern in rule.protect):
        return dead
    if rule.reference_compat:
        return size if held else size - floors({name: size}, FLOOR)[name]
    fixed = units.layout[name].sparsity if name in units.layout else None
    if fixed is not None:
        return max(round(fixed * size), dead)
    floor = rule.floor_for("channels" if channelwise(units.layout) else "weights")
    least = units.layout[name].least if name in units.layout else 1  # an emptied layer is refused in any case
    stay = least if floor is None else floors({name: size}, floor)[name] - (1 - least)
    return max(size - stay, dead)


def _require_published_floor(rule: Rule, held: bool, names: Names) -> None:
    """The published code has the one floor; beside single branches that are held at zero it has none."""
    allowed = ("auto", None, 0) if held else ("auto", FLOOR)
    if rule.floor not in allowed:
        said = "'auto' or no floor, with branches of residual streams masked" if held else f"'auto' or {FLOOR}"
        rule_ = f"{said}, which is what the published code does, where reference_compat is asked for"
        raise invalid(names.floor, rule_, rule.floor)
