"""How magnitude and loss preservation correlate along dense training, and θ·g with θ·Hg: by each coefficient."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from flowprune.core.interval import fisher_z
from flowprune.report.reproduction.case import BySeed, Case, above, below, case, difference
from flowprune.report.reproduction.claim import Cases, FromRows, found
from flowprune.report.reproduction.reading import among, dense
from flowprune.report.shapes.curves import rate_drops
from flowprune.report.values import Row, kind, number, text, whole

FORMS = (("spearman", ""), ("pearson", ""), ("spearman", "within layers"), ("pearson", "within layers"))
"""The paper does not say which it used."""
Track = Mapping[int, float]
"""A correlation at each recorded epoch."""


def moment(pick: Callable[[Track, int | None], float | None], *, most: float) -> FromRows:
    """That a correlation is below ``most``."""
    return _each(pick, lambda where, values: below(where, values, most))


def change(pick: Callable[[Track, int | None], tuple[float, float] | None]) -> FromRows:
    """How far Fisher's z of a correlation rises between two moments."""

    def rise(track: Track, drop: int | None) -> float | None:
        ends = pick(track, drop)
        return None if ends is None else fisher_z(ends[1]) - fisher_z(ends[0])

    return _each(rise, case)


def _each(pick: Callable[[Track, int | None], float | None], make: Callable[[str, BySeed], Case | None]) -> FromRows:
    """A case of every dense run's setting and form of the correlation."""

    def compute(rows: Sequence[Row]) -> Cases:
        fallen = drops(rows)
        return found(
            make(f"{where}, {_words(form)}", values)
            for where, seeds in dense(rows, "correlation").items()
            for form in FORMS
            if (values := _picked(seeds, form, _at_drop(pick, fallen.get(where))))
        )

    return compute


def _at_drop(pick: Callable[[Track, int | None], float | None], drop: int | None) -> Callable[[Track], float | None]:
    return lambda track: pick(track, drop)


def _picked(
    seeds: Mapping[str, Sequence[Row]], form: tuple[str, str], pick: Callable[[Track], float | None]
) -> dict[str, float]:
    values = {seed: pick(found) for seed, own in seeds.items() if (found := track(own, *form))}
    return {seed: value for seed, value in values.items() if value is not None}


def track(rows: Sequence[Row], key: str, within: str) -> Track:
    """The correlation of magnitude and loss preservation by epoch: over all units, or the mean z over layers."""
    own = among(rows, a="magnitude", b="loss_preservation")
    by_epoch: dict[int, list[float]] = {}
    for row in own:
        value = number(row, key)
        if value is not None and bool(text(row, "layer")) is bool(within):
            by_epoch.setdefault(whole(row, "epoch"), []).append(fisher_z(value))
    return {epoch: math.tanh(statistics.fmean(values)) for epoch, values in sorted(by_epoch.items())}


def _words(form: tuple[str, str]) -> str:
    return " ".join(part for part in (form[0].capitalize(), form[1]) if part)


def drops(rows: Sequence[Row]) -> dict[str, int]:
    """The last epoch before the learning rate first falls, by setting of dense runs."""
    fallen = {
        where: rate_drops([{**row, "run": seed} for seed, own in seeds.items() for row in own])
        for where, seeds in dense(rows, "epoch").items()
    }
    return {where: epochs[0] for where, epochs in fallen.items() if epochs}


def start(track: Track, drop: int | None) -> float | None:
    """Before training."""
    del drop
    return track.get(0)


def soon(track: Track, drop: int | None) -> tuple[float, float] | None:
    """From before training to the first record after it."""
    del drop
    return (track[0], list(track.values())[1]) if 0 in track and len(track) > 1 else None


def sag(track: Track, drop: int | None) -> tuple[float, float] | None:
    """From the last record before the learning rate falls back to the first record after training began."""
    before = [epoch for epoch in track if drop is not None and 0 < epoch <= drop]
    return (track[before[-1]], track[before[0]]) if len(before) > 1 else None


def recovery(track: Track, drop: int | None) -> tuple[float, float] | None:
    """From the last record before the learning rate falls to the end."""
    before = [epoch for epoch in track if drop is not None and epoch <= drop]
    return (track[before[-1]], list(track.values())[-1]) if before and max(track) > before[-1] else None


def whole_course(track: Track, drop: int | None) -> tuple[float, float] | None:
    """From the first record after training began to the end."""
    del drop
    later = [value for epoch, value in track.items() if epoch > 0]
    return (later[0], later[-1]) if len(later) > 1 else None


def between_networks(rows: Sequence[Row]) -> Cases:
    """Fisher's z at the end, VGG-13 less MobileNet-V1, for each data set and coefficient."""
    ends = {
        (where, form): _picked(seeds, form, lambda track: fisher_z(list(track.values())[-1]))
        for where, seeds in dense(rows, "correlation").items()
        for form in FORMS
    }
    cases: list[Case | None] = []
    for (where, form), values in ends.items():
        model, _, data = where.partition(" on ")
        other = ends.get((f"mobilenet_v1 on {data}", form))
        if model == "vgg13" and other:
            cases.append(case(f"{data}, {_words(form)}", difference(values, other)))
    return found(cases)


def aligned(least: float) -> FromRows:
    """How far the correlation of θ·g and θ·Hg over units exceeds ``least``: each moment, temperature, coefficient."""

    def compute(rows: Sequence[Row]) -> Cases:
        return found(
            above(f"{where}, epoch {epoch}, T = {temperature:g}, {key.capitalize()}", values, least)
            for where, seeds in dense(rows, "scatter").items()
            for temperature, epoch in _moments(seeds)
            for key in ("spearman", "pearson")
            if (values := _at(seeds, epoch, temperature, key))
        )

    return compute


def _moments(seeds: Mapping[str, Sequence[Row]]) -> list[tuple[float, int]]:
    rows = [row for own in seeds.values() for row in kind(own, "scatter")]
    return sorted({(number(row, "temperature") or 1.0, whole(row, "epoch")) for row in rows})


def _at(seeds: Mapping[str, Sequence[Row]], epoch: int, temperature: float, key: str) -> dict[str, float]:
    picked = {seed: among(own, epoch=epoch, temperature=temperature) for seed, own in seeds.items()}
    return {s: value for s, own in picked.items() if own and (value := number(own[0], key)) is not None}
