"""The masks nearest to a budget, from one scoring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from flowprune.core.errors import PruningError, invalid
from flowprune.core.groups import Groups, channels_of, channelwise, units_of
from flowprune.masks import Masks, Pool
from flowprune.prune.budget import Budget, told
from flowprune.prune.nearest import Nearest, nearest
from flowprune.prune.shares import Shares
from flowprune.prune.solution import Solution
from flowprune.structure import Forecast, LatencyTable
from flowprune.structure.example import Example

Choose = Callable[[tuple[Pool, ...]], Masks]
"""Masks with as many units gone as the pools say."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What a budget is solved on.

    Attributes:
        where: The function named in errors.
        model: None where only units are counted.
        layout: Of the model.
        example_inputs: What it is called with.
        dense: The amount of the model before any cut; None where this is that model.
    """

    where: str
    model: nn.Module | None
    layout: Groups
    example_inputs: object = None
    dense: float | None = None


def settle(budget: Budget, subject: Subject, shares: Shares, choose: Choose) -> Solution:
    """The cut whose cost is nearest to a budget.

    As many units as are removed, the cheaper the model: bisection over their number, on scores that are there already.
    Parameters and bytes are computed. So are multiply-adds; both sides of the answer are then counted on a cut copy,
    and where the count is another, every candidate is counted. Milliseconds are measured, each width once.

    Raises:
        ValueError: the budget needs a model, example inputs or channels, and there are none.
        PruningError: the budget is above the dense model, or below what floors and protection leave; with the nearest
            amount that is feasible.
    """
    ways = _ways(budget, subject, shares, choose)
    dense = ways.dense if subject.dense is None else subject.dense
    asked = budget.amount(dense)
    if subject.dense is None:
        _require_feasible(budget, subject.where, asked, dense, ways=ways, shares=shares)
    found, noise = ways.solved(shares, asked)
    pools = shares.of(found.at)
    return Solution(
        budget=budget,
        masks=choose(pools),
        removed=sum(pool.remove for pool in pools),
        dense=dense,
        asked=asked,
        achieved=found.value,
        below=found.below,
        above=found.above,
        noise_ms=noise,
        batch=ways.batch,
    )


class _Ways:
    """How the amount left by a cut is known; here: computed, and so it is."""

    def __init__(self, dense: float, amount: Callable[[int], float]) -> None:
        self.dense, self.amount = dense, amount
        self.batch: int | None = None

    def solved(self, shares: Shares, asked: float) -> tuple[Nearest, float | None]:
        """The number of removals, and the noise of the amount."""
        return nearest(self.amount, shares.first, shares.last, asked), None


class _Counted(_Ways):
    """Multiply-adds: the formula, as far as a count of cut copies confirms it."""

    def __init__(self, forecast: Forecast, cut: Callable[[int], Mapping[str, Tensor]], last: int) -> None:
        def formula(k: int) -> float:
            return forecast.multiply_adds(cut(k))

        self._counted: Callable[[int], float] = lambda k: forecast.counted(cut(k))
        dense = forecast.counted({})
        holds = forecast.multiply_adds({}) == dense and formula(last) == self._counted(last)
        super().__init__(dense, formula if holds else self._counted)

    def solved(self, shares: Shares, asked: float) -> tuple[Nearest, float | None]:
        found, _ = super().solved(shares, asked)
        if self.amount is self._counted or all(self.amount(k) == self._counted(k) for k in found.proof):
            return found, None
        return nearest(self._counted, shares.first, shares.last, asked), None


class _Timed(_Ways):
    """Milliseconds: measured, so a search ends where the noise is as large as the difference."""

    def __init__(self, table: LatencyTable, cut: Callable[[int], Mapping[str, Tensor]]) -> None:
        super().__init__(table.of({}).median_ms, lambda k: table.of(cut(k)).median_ms)
        self._table, self._cut = table, cut
        self.batch = table.of({}).batch

    def solved(self, shares: Shares, asked: float) -> tuple[Nearest, float | None]:
        noise = self._table.of({}).iqr_ms
        found = nearest(self.amount, shares.first, shares.last, asked, tolerance=noise)
        return found, self._table.of(self._cut(found.at)).iqr_ms


def _ways(budget: Budget, subject: Subject, shares: Shares, choose: Choose) -> _Ways:
    if budget.unit == "channels":
        total = sum(pool.total for pool in shares.pools)
        return _Ways(total, lambda k: total - sum(pool.remove for pool in shares.of(k)))
    model = _require_model(budget, subject)
    layout = channels_of(f"{subject.where}(budget=)", subject.layout)

    def cut(k: int) -> dict[str, Tensor]:
        """Units that stay in place at zero cost what they did."""
        masks = choose(shares.of(k))
        return {name: mask for name, mask in masks.items() if layout[name].removable}

    if budget.unit == "latency_ms":
        batch = budget.batch
        example = subject.example_inputs
        return _Timed(
            LatencyTable(model, layout, example if batch is None else Example.of(example).of_size(batch)), cut
        )
    forecast = Forecast(model, layout, subject.example_inputs)
    if budget.unit == "flops":
        return _Counted(forecast, cut, shares.last)
    amount = forecast.parameters if budget.unit == "parameters" else forecast.bytes
    return _Ways(amount({}), lambda k: amount(cut(k)))


def _require_model(budget: Budget, subject: Subject) -> nn.Module:
    where, unit = subject.where, budget.unit
    if not channelwise(subject.layout):
        units = units_of(subject.layout) if subject.layout else "single weights"
        todo = "Zeros take as many of them: use fp.Channels(...), or Budget(channels=)."
        raise invalid(f"{where}(budget=)", f"Budget(channels=) for {units}", f"Budget({unit}=)", todo)
    if subject.model is None:
        raise invalid(f"{where}(model=)", f"given for Budget({unit}=)", None, "Pass the model that was scored.")
    if unit in ("flops", "latency_ms") and subject.example_inputs is None:
        raise invalid(f"{where}(example_inputs=)", f"given for Budget({unit}=)", None)
    return subject.model


def _require_feasible(budget: Budget, where: str, asked: float, dense: float, *, ways: _Ways, shares: Shares) -> None:
    least, most = ways.amount(shares.last), ways.amount(shares.first)
    if least <= asked <= most:
        return
    limit = least if asked < least else most
    amount = told(limit, budget.unit)  # a fraction in six digits may be just outside
    said = f"{100 * limit / dense:.6g} % ({amount})" if budget.is_fraction else amount
    rule = f"at least {said}" if asked < least else f"at most {said}"
    why = "floors and protected layers keep that much" if asked < least else "the model has no more"
    raise PruningError(
        f"{where}(budget=) must be {rule}: {why}; got {budget.words}. "
        "Ask for that, the nearest that is feasible, or change what is kept."
    )
