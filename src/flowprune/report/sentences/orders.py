"""What first against second order shows, unit by unit."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.report.sentences.correlation import number
from flowprune.report.shapes.orders import MOST, Moment, Orders
from flowprune.report.wording import joined


def say(records: Orders) -> str:
    """Spearman's correlation at each moment, temperature by temperature, and its sign once training has begun."""
    parts = [_temperature(records, temperature) for temperature in records.temperatures]
    known = [moment.spearman for moment in records.moments if moment.spearman is not None]
    n = f" (n = {max(value.n for value in known)})" if known else ""
    return f"Rank correlation of Σθ·g and Σθ·Hg over the units{n}. {' '.join(part for part in parts if part)}".strip()


def _temperature(records: Orders, temperature: float) -> str:
    own = [m for m in records.moments if m.temperature == temperature and m.spearman is not None]
    if not own:
        return f"At T = {temperature:g} it is undefined."
    values = [f"{number(m.spearman)} {moment(records, m.epoch)}" for m in own if m.spearman is not None]
    return f"At T = {temperature:g}: {joined(values)}{_sign(own)}."


def _sign(own: Sequence[Moment]) -> str:
    """Observation 4 wants θ·Hg to go with θ·g: what the trained moments say of it."""
    trained = [m.interval for m in own if m.epoch > 0]
    ends = [(each.low, each.high) for each in trained if each.low is not None and each.high is not None]
    if not ends:
        return "; with one seed no sign is told" if trained else ""
    if all(low > 0 for low, _ in ends):
        return (
            ", so the units with the most negative θ·Hg are those whose removal raises the loss, as the paper reports"
        )
    if all(high < 0 for _, high in ends):
        words = ", so the units with the most negative θ·Hg are those whose removal lowers the loss"
        return f"{words}, against what the paper reports"
    return ", without one sign throughout training (95 % intervals over seeds)"


def moment(records: Orders, epoch: int) -> str:
    """A moment in words.

    Example:
        >>> moment(Orders((), "0", 30, ()), 0), moment(Orders((), "0", 30, ()), 30)
        ('before training', 'at the end (epoch 30)')
    """
    if epoch == 0:
        return "before training"
    return f"at the end (epoch {epoch})" if epoch == records.last else f"after epoch {epoch}"


def caption(records: Orders) -> str:
    """What a point is, how axes are scaled, and why the relation matters."""
    return (
        f"One point for each unit of the dense network of seed {records.seed} (at most {MOST} in a panel); correlations"
        " over all units, mean over seeds. Σ runs over a unit's weights, H is the Hessian of the loss at that"
        " temperature T. Axes are symmetric logarithms, linear about 0, each panel with its own. By E6, removing a unit"
        " changes the loss by −Σθ·g: where θ·g and θ·Hg go together, the units with the most negative θ·Hg, which"
        " gradient-norm increase cuts first, are those whose removal raises the loss."
    )
