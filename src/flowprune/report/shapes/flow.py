"""The norm along training, its predicted derivatives (E3, E4) beside the measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowprune.report.shapes.runs import Config, all_rounds, by_config, config, grouped
from flowprune.report.spread import Spread, spread
from flowprune.report.values import Row, finite, kind, number, whole


@dataclass(frozen=True)
class Pair:
    """One predicted value and the measured one, of one run at one epoch."""

    config: Config
    epoch: int
    predicted: float
    measured: float


@dataclass(frozen=True)
class Match:
    """How well predictions match: quantiles of |predicted − measured| / |measured|, and equal signs.

    Attributes:
        near: The share of them within :data:`NEAR`: errors have two sizes where some differences cross a kink.
    """

    n: int
    near: float
    median_error: float
    p95_error: float
    same_sign: float


@dataclass(frozen=True)
class Track:
    """‖θ‖² of one configuration at each epoch."""

    config: Config
    epochs: tuple[int, ...]
    values: tuple[Spread, ...]


@dataclass(frozen=True)
class Flow:
    """Norms, and pairs of derivatives. Units: derivatives by flow time (learning rate × steps)."""

    norms: tuple[Track, ...]
    velocity: tuple[Pair, ...]
    acceleration: tuple[Pair, ...]
    runs: int
    notes: tuple[str, ...]

    @property
    def rounds(self) -> tuple[int, ...]:
        """The numbers of rounds, or ``(0,)`` where every run is dense."""
        return all_rounds(track.config for track in self.norms) or (0,)


def flow(rows: Sequence[Row]) -> Flow | None:
    """The records of ``kind="flow"``, or None where there are none to draw.

    Example:
        >>> rows = [{"kind": "flow", "measure": "dense", "epoch": e, "norm2": 2.0 * e, "velocity": 1.0,
        ...          "measured_velocity": 1.01} for e in (1, 2)]
        >>> found = flow(rows)
        >>> [v.mean for v in found.norms[0].values], len(found.velocity), len(found.acceleration)
        ([2.0, 4.0], 2, 0)
    """
    kept, notes = finite(kind(rows, "flow"), "norm2", "epoch")
    if not kept:
        return None
    velocity, lost = _pairs(kept, "velocity")
    acceleration, also = _pairs(kept, "acceleration")
    runs = len({str(row.get("run")) for row in kept})
    return Flow(_tracks(kept), velocity, acceleration, runs, (*notes, *lost, *also))


def _tracks(rows: Sequence[Row]) -> tuple[Track, ...]:
    tracks: list[Track] = []
    for name, own in by_config(rows).items():
        at = grouped(own, lambda row: whole(row, "epoch"))
        steps = tuple(sorted(at))
        tracks.append(Track(name, steps, tuple(spread(number(r, "norm2") or 0.0 for r in at[e]) for e in steps)))
    return tuple(tracks)


def _pairs(rows: Sequence[Row], key: str) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    found, notes = finite(rows, key, f"measured_{key}")
    kept = [row for row in found if steady(row, key) is not False]
    if len(kept) < len(found):
        what = f"{len(found) - len(kept)} of {len(found)} measured values of the {key}"
        notes = (*notes, f"{what} change where the step of their difference is halved: left out.")
    return tuple(
        Pair(config(r), whole(r, "epoch"), number(r, key) or 0.0, number(r, f"measured_{key}") or 0.0) for r in kept
    ), notes


NEAR = 0.01
"""A derivative is measured as predicted within this share of it."""
STEADY = 0.01
"""A difference is to be trusted where half its step gives the same within this share."""


def steady(row: Row, key: str) -> bool | None:
    """Whether a measured derivative stays where the step of its difference is halved; None where that was not tried.

    Where a step crosses a kink of a ReLU network, the difference grows as the step shrinks.

    Example:
        >>> row = {"measured_acceleration": 2.0, "measured_acceleration_half_step": 4.0}
        >>> steady(row, "acceleration"), steady({**row, "measured_acceleration_half_step": 2.01}, "acceleration")
        (False, True)
        >>> steady(row, "velocity") is None
        True
    """
    whole_step, half_step = number(row, f"measured_{key}"), number(row, f"measured_{key}_half_step")
    if whole_step is None or half_step is None:
        return None
    return abs(whole_step - half_step) <= STEADY * abs(half_step)


def match(pairs: Sequence[Pair]) -> Match | None:
    """How well predictions match measurements; pairs measured as exactly 0 have no relative error.

    Example:
        >>> one = Config(0, "dense")
        >>> match([Pair(one, 1, 1.1, 1.0), Pair(one, 2, -2.0, -2.0)]).n
        2
    """
    usable = [pair for pair in pairs if pair.measured != 0]
    if not usable:
        return None
    predicted = np.asarray([pair.predicted for pair in usable])
    measured = np.asarray([pair.measured for pair in usable])
    errors = np.abs(predicted - measured) / np.abs(measured)
    same = float(np.mean(np.sign(predicted) == np.sign(measured)))
    near = float(np.mean(errors <= NEAR))
    return Match(len(usable), near, float(np.median(errors)), float(np.quantile(errors, 0.95)), same)


def means(pairs: Sequence[Pair]) -> dict[Config, tuple[tuple[int, float, float], ...]]:
    """For each configuration ``(epoch, mean predicted, mean measured)`` over its runs.

    Example:
        >>> one = Config(0, "dense")
        >>> means([Pair(one, 1, 1.0, 2.0), Pair(one, 1, 3.0, 4.0)])[one]
        ((1, 2.0, 3.0),)
    """
    groups: dict[Config, dict[int, list[Pair]]] = {}
    for pair in pairs:
        groups.setdefault(pair.config, {}).setdefault(pair.epoch, []).append(pair)
    return {
        name: tuple(
            (epoch, float(np.mean([p.predicted for p in own])), float(np.mean([p.measured for p in own])))
            for epoch, own in sorted(at.items())
        )
        for name, at in groups.items()
    }
