"""The record of a sparsity schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from flowprune.schedules.adaptive import Adapt

Shape = Callable[[int, int, float], float]
"""``shape(k, n, p)``: the fraction removed after round k of n on the way to sparsity p."""


def require_sparsity(where: str, sparsity: object) -> float:
    """The sparsity as a float, or an error: a fraction removed, in [0, 1).

    Example:
        >>> require_sparsity("prune(sparsity=)", 0.75)
        0.75
    """
    if isinstance(sparsity, bool) or not isinstance(sparsity, int | float) or not 0 <= sparsity < 1:
        raise invalid(where, "a number in [0, 1)", sparsity, "To keep a fraction d, pass sparsity=1-d.")
    return float(sparsity)


def require_rounds(where: str, rounds: object) -> int:
    """The number of rounds as an int >= 1, or an error.

    Example:
        >>> require_rounds("linear(rounds=)", 5)
        5
    """
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise invalid(where, "a whole number >= 1", rounds)
    return rounds


def require_schedule(where: str, schedule: object) -> Schedule:
    """The schedule, if it is one.

    Raises:
        ValueError: it is something else, such as its name or a sparsity.

    Example:
        >>> require_schedule("prune", "rounds")
        Traceback (most recent call last):
        ValueError: prune(schedule=) must be a Schedule, such as fp.schedules.rounds(5, sparsity=0.75); got 'rounds'.
    """
    if not isinstance(schedule, Schedule):
        got = getattr(schedule, "__name__", schedule)
        raise invalid(f"{where}(schedule=)", "a Schedule, such as fp.schedules.rounds(5, sparsity=0.75)", got)
    return schedule


@dataclass(frozen=True)
class Schedule:
    """How much is gone after each of ``rounds`` rounds of pruning.

    Formula: after round k of n, ``shape(k, n, p)`` of the units that the dense model had is removed.

    Units: sparsity, the fraction removed; the denominator is always the original number of units, never what
    the previous round left. Density is 1 - sparsity.

    Attributes:
        name: The name of the shape.
        rounds: How often is cut.
        sparsity: The fraction removed at the end; None where it is named when targets are asked for.
        shape: See :data:`Shape`.
        adapt: How sizes are found where they are not known in advance; the shape is then the slowest pace.

    Raises:
        ValueError: fewer than one round, or a sparsity outside [0, 1).

    Example:
        >>> Schedule("linear", 4, 0.5, lambda k, n, p: p * k / n).targets()
        (0.125, 0.25, 0.375, 0.5)
    """

    name: str
    rounds: int
    sparsity: float | None
    shape: Shape
    adapt: Adapt | None = None

    def __post_init__(self) -> None:
        require_rounds(f"{self.name}(rounds=)", self.rounds)
        if self.sparsity is not None:
            require_sparsity(f"{self.name}(sparsity=)", self.sparsity)

    def targets(self, sparsity: float | None = None) -> tuple[float, ...]:
        """The cumulative fraction of the original units removed after each round; the last is exactly the sparsity.

        Raises:
            ValueError: no sparsity is known, the schedule has another one, or it is outside [0, 1).

        Example:
            >>> from flowprune.schedules import linear
            >>> linear(2).targets(0.5)
            (0.25, 0.5)
        """
        p = self._sparsity(sparsity)
        return (*(self.shape(k, self.rounds, p) for k in range(1, self.rounds)), p)

    def _sparsity(self, asked: float | None) -> float:
        where = f"{self.name}.targets(sparsity=)"
        if asked is None and self.sparsity is None:
            raise invalid(where, "given, here or in the schedule", None)
        if asked is None or self.sparsity is None:
            return require_sparsity(where, self.sparsity if asked is None else asked)
        if asked != self.sparsity:
            raise invalid(where, f"the schedule's own {self.sparsity}", asked, "Name the sparsity in one place.")
        return self.sparsity
