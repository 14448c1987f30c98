"""What a cut saved: sizes counted, memory and times measured, and a verdict in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid
from flowprune.structure.cost import Cost, batch_size, measure_cost
from flowprune.structure.example import Example
from flowprune.structure.latency import Latency, check_repeats
from flowprune.structure.peak import peak_memory
from flowprune.structure.speed import Speed, compare_speed


@dataclass(frozen=True)
class Measured:
    """What was measured at one batch size.

    Attributes:
        speed: Times of both models, taken in turns.
        peak_before: Most bytes that a pass of the dense model holds at one moment; see :func:`peak_memory`.
        peak_after: Those of the pruned one.
    """

    speed: Speed
    peak_before: int
    peak_after: int


@dataclass(frozen=True)
class Ideal:
    """How much faster the pruned model could be, by what it has to compute and by what it has to move.

    Attributes:
        multiply_adds: Multiply-adds before / after.
        activation_bytes: Bytes of the outputs of all layers, before / after.
    """

    multiply_adds: float
    activation_bytes: float

    @property
    def smaller(self) -> tuple[str, float]:
        """The one that binds, by name: a narrow network is held up by its bytes."""
        named = {"multiply-adds": self.multiply_adds, "activation bytes": self.activation_bytes}
        return min(named.items(), key=lambda item: item[1])

    def attained(self, factor: float) -> float:
        """The share of the smaller ideal that a measured factor is."""
        return factor / self.smaller[1]


@dataclass(frozen=True)
class CostReport:
    """What two models cost, side by side; printed, it is a table.

    Attributes:
        before: Sizes of the dense model.
        after: Of the pruned one.
        measured: Times and memory, one entry a batch size; empty where no example inputs were known.
        channels_last: Whether times were taken in that memory format.
        zeros: What the zeros of a masked model are called.
    """

    before: Cost
    after: Cost
    measured: tuple[Measured, ...] = ()
    channels_last: bool = False
    zeros: str = "unstructured zeros"

    @property
    def latency_before(self) -> Latency | None:
        """Of the dense model at the first batch size; None where nothing was measured."""
        return self.measured[0].speed.before if self.measured else None

    @property
    def latency_after(self) -> Latency | None:
        """Of the pruned model at the first batch size; None where nothing was measured."""
        return self.measured[0].speed.after if self.measured else None

    @property
    def ideal(self) -> Ideal | None:
        """By multiply-adds and by activation bytes; None where no example inputs were known, or nothing is computed."""
        counts = [self.before.multiply_adds, self.after.multiply_adds]
        sizes = [self.before.activation_bytes, self.after.activation_bytes]
        if not counts[0] or not counts[1] or not sizes[0] or not sizes[1]:
            return None
        return Ideal(counts[0] / counts[1], sizes[0] / sizes[1])

    @property
    def verdict(self) -> str:
        """Whether it is faster, in words."""
        if (self.before.parameters, self.before.nonzeros) == (self.after.parameters, self.after.nonzeros):
            return "nothing was cut"
        if self.before.parameters == self.after.parameters:
            return _of_zeros(self)
        size = "smaller" if self.after.parameters < self.before.parameters else "larger"
        if not self.measured:
            return f"{size}; latency not measured: no example inputs"
        return _of_speeds([each.speed for each in self.measured], size)

    def __str__(self) -> str:
        """The table, the attained shares and the verdict."""
        lines = [_line(("", "before", "after", "factor")), *map(_line, _sizes(self))]
        for each in self.measured:
            lines += map(_line, _times(each))
        return "\n".join([*lines, *_attained(self), f"Verdict: {self.verdict}."])


def cost_report(
    dense: nn.Module,
    pruned: nn.Module,
    example_inputs: object = None,
    *,
    batch_sizes: Sequence[int] = (1, 8),
    repeats: int = 20,
    channels_last: bool = False,
) -> CostReport:
    """Count and measure what pruning saved on this machine; both models stay as they are.

    Counted: parameters, non-zeros, multiply-adds (1 = 2 FLOPs), bytes on disk, bytes of all activations. Measured, at
    each batch size: the most bytes alive at one moment of a pass (:func:`peak_memory`), and the time of a pass, dense
    and pruned in turns (:func:`compare_speed`). Beside the measured factor stands the share it is of what could be
    had: of the ratio of multiply-adds, and of the ratio of activation bytes, which binds narrow networks.

    Args:
        dense: The model before the cut.
        pruned: After it.
        example_inputs: What both are called with. They are repeated or cut to each batch size. Without them the models
            are not run.
        batch_sizes: Examples per pass.
        repeats: Rounds of timing at each batch size.
        channels_last: Time both models in that memory format.

    Raises:
        ValueError: a batch size or ``repeats`` below 1, no module, or inputs without an axis of examples.
        PruningError: a model cannot be copied.

    Example:
        >>> import torch
        >>> report = cost_report(nn.Linear(8, 8), nn.Linear(8, 2), torch.ones(1, 8), batch_sizes=(4,), repeats=3)
        >>> report.before.multiply_adds, report.after.multiply_adds, report.ideal.smaller
        (64, 16, ('multiply-adds', 4.0))
        >>> report.measured[0].peak_before, report.measured[0].peak_after
        (128, 32)
    """
    for model in (dense, pruned):
        require_model("cost_report", model)
    if not isinstance(batch_sizes, Sequence) or any(type(size) is not int or size < 1 for size in batch_sizes):
        raise invalid("cost_report(batch_sizes=)", "whole numbers >= 1", batch_sizes, "E.g. batch_sizes=(1, 8).")
    check_repeats("cost_report", repeats)
    before, after = measure_cost(dense, example_inputs), measure_cost(pruned, example_inputs)
    if example_inputs is None:
        return CostReport(before, after)
    example = Example.of(example_inputs, "cost_report").copied()
    batch_size(example)
    found: list[Measured] = []
    for size in dict.fromkeys(batch_sizes):
        inputs = example.of_size(size)
        speed = compare_speed(dense, pruned, inputs, repeats=repeats, channels_last=channels_last)
        found.append(Measured(speed, peak_memory(dense, inputs), peak_memory(pruned, inputs)))
    return CostReport(before, after, tuple(found), channels_last)


def _of_zeros(report: CostReport) -> str:
    """The verdict on a model that has zeros and no tensor that is smaller."""
    gone, filters = (getattr(report.before, n) - getattr(report.after, n) for n in ("nonzeros", "filter_zeros"))
    whole = gone > 0 and -filters >= WHOLE * gone
    kind = "whole filters are zero, and still there" if whole else report.zeros
    todo = "; fp.remove takes them out" if whole else ""
    if not report.measured:
        return f"{kind}: no speed-up to expect, latency not measured: no example inputs{todo}"
    faster = [str(each.speed) for each in report.measured if each.speed.faster]
    if faster:  # zeros are multiplied like other numbers: this would be a finding about the machine
        return f"{kind}: no tensor is smaller, yet {', '.join(faster)}; measure again{todo}"
    return f"{kind}: no speed-up here{todo}"


def _of_speeds(speeds: Iterable[Speed], size: str) -> str:
    """The verdict on a model of another size: what was found at each batch size, the greatest factor first."""
    ordered = sorted(speeds, key=lambda speed: -speed.factor)
    found = [str(speed) for speed in ordered if speed.faster or speed.slower]
    silent = sorted(speed.batch for speed in ordered if not (speed.faster or speed.slower))
    if not silent:
        return ", ".join(found)
    batches = f"at batch {' and '.join(map(str, silent))}"
    return ", ".join([*found, f"not measurably {batches}"]) if found else f"{size}, not measurably faster {batches}"


WHOLE = 0.75
"""The part of all new zeros that lies in wholly zero filters, from which on filters were masked and not weights."""
Row = tuple[str, str, str, str]


def _line(row: Row) -> str:
    name, before, after, factor = row
    return f"{name:<60} {before:>17} {after:>17}  {factor}".rstrip()


def _sizes(report: CostReport) -> list[Row]:
    a, b = report.before, report.after
    rows = (
        ("parameters", a.parameters, b.parameters),
        ("non-zeros", a.nonzeros, b.nonzeros),
        ("multiply-adds of one example (1 = 2 FLOPs)", a.multiply_adds, b.multiply_adds),
        ("those of filters that are not zero", a.live_multiply_adds, b.live_multiply_adds),
        ("bytes on disk", a.bytes, b.bytes),
        ("bytes of one example's activations, all layers", a.activation_bytes, b.activation_bytes),
    )
    return [_counts(name, before, after) for name, before, after in rows if before is not None and after is not None]


def _counts(name: str, before: int, after: int) -> Row:
    return name, f"{before:,}", f"{after:,}", f"{before / max(after, 1):.2f}x"


def _times(each: Measured) -> list[Row]:
    speed = each.speed
    times = [f"{time.median_ms:.3f} ({time.iqr_ms:.3f})" for time in (speed.before, speed.after)]
    setting = f"batch {speed.batch}, threads {speed.before.threads}"
    name = f"ms, median of {speed.before.repeats} passes (IQR), {setting}"
    return [
        _counts(f"peak bytes of activations, batch {speed.batch}", each.peak_before, each.peak_after),
        (name, times[0], times[1], f"{speed.factor:.2f}x ({speed.low:.2f} to {speed.high:.2f})"),
    ]


def _attained(report: CostReport) -> list[str]:
    """The share of both ideals that was reached, where something got smaller."""
    ideal = report.ideal
    if ideal is None or ideal.smaller[1] == ideal.multiply_adds == 1.0:
        return []
    layout = ", channels last" if report.channels_last else ""
    return [
        f"Attained at batch {each.speed.batch}{layout}: {each.speed.factor / ideal.multiply_adds:.2f} of the ideal by "
        f"multiply-adds (x{ideal.multiply_adds:.3g}), {each.speed.factor / ideal.activation_bytes:.2f} of that by "
        f"activation bytes (x{ideal.activation_bytes:.3g}); the smaller is {ideal.smaller[0]}."
        for each in report.measured
    ]
