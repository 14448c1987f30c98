"""What the event that the first cut waits for read at each look, when it fired, and when the cut came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flowprune.report.shapes.runs import Config, by_config, grouped
from flowprune.report.values import Row, kind, number, text, whole

EVENT = "prune.when"
FIRES_BELOW = {"early_bird": True, "early_crop": True, "stable_structure": False, "after": False}
"""Whether an event fires once its value is below the threshold, or once it is at or above it."""


@dataclass(frozen=True)
class Look:
    """One look: the value and the threshold are None while they are not known."""

    epoch: int
    value: float | None
    threshold: float | None


@dataclass(frozen=True)
class Wait:
    """The looks of one run.

    Attributes:
        fired: The epoch of the look after which it was time, or None.
        settled: Whether the indicator itself said so, and not the latest moment allowed; None where that is not known.
        cut: The epoch of the first cut, or None.
    """

    config: Config
    seed: str
    looks: tuple[Look, ...]
    fired: int | None
    settled: bool | None
    cut: int | None


@dataclass(frozen=True)
class When:
    """All waits, by the name of their event."""

    events: dict[str, tuple[Wait, ...]]
    notes: tuple[str, ...]


def when(rows: Sequence[Row]) -> When | None:
    """The records of ``kind="look"``, or None where there are none.

    Example:
        >>> row = {"kind": "look", "run": "r", "measure": "magnitude", "event": "early_bird", "threshold": 0.1}
        >>> looks = [{**row, "epoch": e, "value": v, "fired": v < 0.1} for e, v in ((1, 0.3), (2, 0.05))]
        >>> wait = when([*looks, {"kind": "cut", "run": "r", "epoch": 2}]).events["early_bird"][0]
        >>> wait.fired, wait.settled, wait.cut
        (2, True, 2)
    """
    cuts = grouped(kind(rows, "cut"), lambda row: text(row, "run"))
    found: dict[str, list[Wait]] = {}
    blind = 0
    for config, own in by_config(kind(rows, "look")).items():
        for run, looks in grouped(own, lambda row: text(row, "run")).items():
            name = _event(config, looks[0])
            wait = _wait(config, name, looks, [whole(row, "epoch") for row in cuts.get(run, ())])
            blind += all(look.value is None for look in wait.looks)
            found.setdefault(name, []).append(wait)
    told = f"In {blind} run{'' if blind == 1 else 's'} no look had a value yet: nothing is drawn of them."
    return When({name: tuple(own) for name, own in found.items()}, (told,) if blind else ()) if found else None


def _event(config: Config, row: Row) -> str:
    """The event by name: as the spec has it, since rows name what it is wrapped in."""
    return dict(config.setting).get(EVENT) or text(row, "when") or text(row, "event", "event")


def _wait(config: Config, name: str, rows: Sequence[Row], cuts: Sequence[int]) -> Wait:
    ordered = sorted(rows, key=lambda row: whole(row, "epoch"))
    looks = tuple(Look(whole(row, "epoch"), number(row, "value"), number(row, "threshold")) for row in ordered)
    fired = next((whole(row, "epoch") for row in ordered if row.get("fired") is True), None)
    last = next((look for look in looks if look.epoch == fired), None)
    told = replace(config, setting=tuple(field for field in config.setting if field[0] != EVENT))  # its panel says it
    return Wait(told, text(ordered[0], "seed", "?"), looks, fired, _settled(name, last), min(cuts, default=None))


def _settled(name: str, last: Look | None) -> bool | None:
    if last is None or name not in FIRES_BELOW:
        return None
    if last.value is None or last.threshold is None:
        return False
    return last.value < last.threshold if FIRES_BELOW[name] else last.value >= last.threshold
