"""Stages as large as the loss model allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flowprune.core.errors import invalid
from flowprune.schedules.schedule import Schedule
from flowprune.schedules.shapes import exponential_shape

MAX_STAGES: Final = 140
"""The most of the paper that has them."""


@dataclass(frozen=True)
class Adapt:
    """When a stage is small enough: what its Taylor model predicts is what is measured.

    A stage of signed predicted change p and measured change m of the loss L is within the tolerance where
    abs(p - m) <= tolerance * max(abs(m), negligible * abs(L)).

    Attributes:
        tolerance: Of the prediction, relative to what is measured.
        order: Of the Taylor model: 1, or 2 with the diagonal curvature.
        full: Whether order 2 has the whole Hessian in place of a diagonal: what weights that go together are to each
            other is most of what a diagonal misses. A trial then takes a Hessian-vector product besides.
        trials: How many sizes are tried for a stage at most, each at the price of the forward passes.
        negligible: The part of the loss below which a change counts as none.

    Raises:
        ValueError: a tolerance or a part outside (0, 1), another order, no trial, or full that is no boolean.
    """

    tolerance: float
    order: int
    trials: int
    negligible: float
    full: bool = False

    def __post_init__(self) -> None:
        for name in ("tolerance", "negligible"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                raise invalid(f"adaptive({name}=)", "in (0, 1)", value)
        if isinstance(self.order, bool) or not isinstance(self.order, int) or self.order not in (1, 2):
            raise invalid("adaptive(order=)", "1 or 2", self.order)
        if not isinstance(self.full, bool):
            raise invalid("adaptive(full=)", "True or False", self.full)
        if self.full and self.order == 1:
            raise invalid("adaptive(order=)", "2 with full=True, which is of second order", self.order)
        if isinstance(self.trials, bool) or not isinstance(self.trials, int) or self.trials < 1:
            raise invalid("adaptive(trials=)", "a whole number >= 1", self.trials)

    @property
    def diagonal(self) -> bool:
        """Whether the Taylor model has a diagonal in place of the Hessian.

        Example:
            >>> adaptive(140).adapt.diagonal, adaptive(140, full=True).adapt.diagonal
            (True, False)
        """
        return self.order == 2 and not self.full

    def fits(self, predicted: float, measured: float, loss: float) -> bool:
        """Whether a stage is within the tolerance.

        Example:
            >>> adapt = Adapt(0.1, 2, 12, 0.01)
            >>> adapt.fits(0.95, 1.0, loss=2.0), adapt.fits(0.5, 1.0, loss=2.0), adapt.fits(0.0, 1e-4, loss=2.0)
            (True, False, True)
        """
        return abs(predicted - measured) <= self.tolerance * max(abs(measured), self.negligible * abs(loss))


def adaptive(
    max_stages: int = MAX_STAGES,
    sparsity: float | None = None,
    *,
    tolerance: float = 0.1,
    order: int = 2,
    trials: int = 12,
    negligible: float = 0.01,
    full: bool = False,
) -> Schedule:
    """Stages as large as keep the predicted change of the loss near the measured one.

    At each partly pruned point signals are gathered anew and the largest cut is looked for whose predicted and measured
    changes agree (:class:`Adapt`): all that is left, then halves and doubles of the last size, then bisection. A stage
    never falls behind the exponential pace that ends at the sparsity after ``max_stages`` stages; where even that is
    not within the tolerance it is cut all the same, and its record says so.

    The measures of loss models choose what their model predicts to cost nothing, so that a diagonal model of order 2
    seldom is within a relative tolerance for QM: ``full`` then is, or the pace decides.

    What they are for is to be told what a cut costs. That a stage is predicted well does not make it the right one: 14
    stages of :func:`exponential` kept more of the loss than 20 to 25 within a tolerance of 0.1, for LM and QM; for OBD
    the two were not told apart (docs/loss_models.md).

    For pruning at one go (:func:`flowprune.prune`), on batches that can be read again.

    Raises:
        ValueError: one stage, which leaves no choice, or what :class:`Adapt` refuses.

    Source: stages as in Laurent et al. 2020, arXiv 2006.12279; their sizes are this library's.

    Example:
        >>> adaptive(2, sparsity=0.75).targets()                                        # the slowest pace
        (0.5, 0.75)
    """
    if max_stages == 1:
        todo = "Allow some, such as 140, or take fp.schedules.one_shot()."
        raise invalid("adaptive(max_stages=)", ">= 2: one stage is all there is to cut", max_stages, todo)
    adapt = Adapt(tolerance, order, trials, negligible, full)
    return Schedule("adaptive", max_stages, sparsity, exponential_shape, adapt)
