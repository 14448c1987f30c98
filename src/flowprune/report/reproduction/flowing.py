"""Whether the norm moves as gradient flow has it: its derivatives (E3, E4), and over the optimizer's own steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowprune.report.reproduction.case import Case, case
from flowprune.report.reproduction.claim import Cases, found
from flowprune.report.reproduction.reading import dense
from flowprune.report.shapes.flow import steady
from flowprune.report.values import Row, number
from flowprune.report.wording import figures

SAME, MOST = 0.01, 0.9
"""A derivative is computed right where it is measured within one per cent, and so at nine moments of ten."""
NEAR, HALF = 0.1, 0.5
"""A prediction of real steps is near within a tenth, and useful where it is so at more than half of the moments."""
STEPS = {
    "flow": "flow alone (E3)",
    "decay": "with weight decay",
    "step_size": "with decay and the size of the step",
    "effective": "these at the effective rate",
    "momentum": "with the momentum buffer",
}
Pairs = list[tuple[float, float]]
"""A predicted value and the measured one."""


def derivatives(rows: Sequence[Row]) -> Cases:
    """The share of moments at which the difference along the flow agrees, less nine in ten, in points, of dense runs.

    Moments whose difference is not to be trusted, as it is another at half the step, are left out and counted.
    """
    return found(
        _derivative(f"{where}, {words}", seeds, key)
        for where, seeds in dense(rows, "flow").items()
        for key, words in (("velocity", "E3"), ("acceleration", "E4"))
    )


def _derivative(where: str, seeds: Mapping[str, Sequence[Row]], key: str) -> Case | None:
    trusted = {seed: [row for row in own if steady(row, key) is not False] for seed, own in seeds.items()}
    pairs = {seed: _pairs(own, key, f"measured_{key}") for seed, own in trusted.items()}
    left_out = sum(len(seeds[seed]) - len(own) for seed, own in trusted.items())
    unchecked = any(steady(row, key) is None for own in seeds.values() for row in own)
    total = sum(map(len, seeds.values()))
    words = f"; {left_out} of {total} moments left out, as halving the step changes them" if left_out else ""
    words += "; differences not checked by halving the step" if unchecked else ""
    return _close(where, pairs, (SAME, MOST), words)


def steps(rows: Sequence[Row]) -> Cases:
    """The share of moments at which a prediction of real steps is near, less one half, in points, of dense runs."""
    return found(
        _steps(f"{where}, {words}", {seed: _pairs(own, key, "measured") for seed, own in seeds.items()})
        for where, seeds in dense(rows, "training_flow").items()
        for key, words in STEPS.items()
    )


def _steps(where: str, pairs: Mapping[str, Pairs]) -> Case | None:
    flat = [pair for own in pairs.values() for pair in own]
    if not flat:
        return None
    right = sum((predicted > 0) == (measured > 0) for predicted, measured in flat)
    rose = sum(measured > 0 for _, measured in flat)
    words = f"; sign right at {right}, the norm rose at {rose} of {len(flat)}"
    return _close(where, pairs, (NEAR, HALF), words)


def _pairs(rows: Sequence[Row], predicted: str, measured: str) -> Pairs:
    both = [(number(row, predicted), number(row, measured)) for row in rows]
    return [(a, b) for a, b in both if a is not None and b is not None and b != 0]


def _close(where: str, pairs: Mapping[str, Pairs], limits: tuple[float, float], words: str) -> Case | None:
    near, least = limits
    kept = {seed: own for seed, own in pairs.items() if own}
    shares = {seed: sum(abs(a - b) <= near * abs(b) for a, b in own) / len(own) for seed, own in kept.items()}
    errors = sorted(abs(a - b) / abs(b) for own in kept.values() for a, b in own)
    if not errors:
        return None
    low, middle, high = (figures(100 * errors[round(q * (len(errors) - 1))], 2) for q in (0.25, 0.5, 0.75))
    note = f"errors of {low}, {middle} and {high} % (quartiles){words}"
    values = {seed: 100 * (share - least) for seed, share in shares.items()}
    return case(where, values, note, within=(-100 * least, 100 * (1 - least)))
