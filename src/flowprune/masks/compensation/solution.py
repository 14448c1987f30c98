"""The weights that a layer keeps, changed so that its outputs change least: least squares, solved exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flowprune.core.errors import invalid


@dataclass(frozen=True, eq=False)
class Problem:
    """What one group of outputs of a layer shall give, and from what.

    Attributes:
        second: A = E[x xᵀ], ``(D, D)``, of the inputs that there are once it is cut.
        weights: W, ``(outputs, D)``.
        keep: Boolean, ``(outputs, D)``: what is True may change, all else is zero.
        cross: E[x yᵀ], ``(D, outputs)``, of targets y; None where they are W x of these very inputs.
        square: E[y²], ``(outputs,)``; None with them.
        penalty: Of moving each weight, ``(D,)``.
    """

    second: Tensor
    weights: Tensor
    keep: Tensor
    cross: Tensor | None
    square: Tensor | None
    penalty: Tensor


class Errors(NamedTuple):
    """E(y − ŵx)² by output, ``(outputs,)``: of the masked weights, of the solution, and E y² beside them."""

    before: Tensor
    after: Tensor
    square: Tensor


class SingularError(ArithmeticError):
    """Inputs that are kept are linearly dependent: the solution is not unique."""


def penalty_of(second: Tensor, damping: float, *, constant: bool) -> Tensor:
    """Damping times mean(diag A) for every weight; none for the bias, which multiplies the constant input at the end.

    Where all inputs are zero, so that nothing says what weights do, it is one, and the weights stay.

    Example:
        >>> penalty_of(torch.diag(torch.tensor([1.0, 3.0, 1.0])), 0.5, constant=True)
        tensor([1., 1., 0.])
    """
    diagonal = second.diagonal()
    level = (diagonal[:-1] if constant else diagonal).mean()
    found = torch.full_like(diagonal, float(damping * level) if bool(level > 0) else 1.0)
    if constant:
        found[-1] = 0.0
    return found


def solved(problem: Problem) -> tuple[Tensor, Tensor]:
    """The change δ of the kept weights, ``(outputs, D)``, zero elsewhere, and the residual r that it answers.

    With m ⊙ W the masked weights, r = E[x yᵀ] − A (m ⊙ W)ᵀ, and by output δ_K = (A_KK + Λ)⁻¹ r_K, Λ the penalty.

    Outputs of one mask share a factor. Of each, the smaller system is solved: of its |K| kept weights, or of its |P|
    others with B = (A + Λ)⁻¹: δ = B r − B_:P (B_PP)⁻¹ (B r)_P. Without a penalty B may not exist, and is not asked for.

    Raises:
        SingularError: kept inputs are linearly dependent, and nothing is added to the diagonal.

    Example:
        >>> problem = Problem(
        ...     torch.tensor([[2.0, 1.0], [1.0, 1.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([[True, False]]),
        ...     None, None, torch.zeros(2),
        ... )
        >>> solved(problem)[0]  # 4 · 1 / 2
        tensor([[2., 0.]])
    """
    residual = _residual(problem)
    delta = torch.zeros_like(problem.weights)
    busy = torch.nonzero((residual != 0).any(0) & problem.keep.any(1)).flatten()
    if not len(busy):
        return delta, residual
    damped = problem.second + torch.diag(problem.penalty)
    patterns, which = torch.unique(problem.keep[busy], dim=0, return_inverse=True)
    kept = patterns.sum(1)
    inverted = _worth_inverting(kept, problem)
    inverse = _inverse(damped) if bool(inverted.any()) else damped
    order = which.argsort(stable=True)
    for pattern, through, rows in zip(patterns, inverted.tolist(), order.split(which.bincount().tolist()), strict=True):
        outputs = busy[rows]
        if through:
            delta[outputs] = _through_inverse(inverse, pattern, residual[:, outputs])
        else:
            index = pattern.nonzero().flatten()
            factor = _factor(damped[index[:, None], index])
            delta[outputs[:, None], index] = torch.cholesky_solve(residual[index[:, None], outputs], factor).mT
    return delta, residual


def errors(problem: Problem, delta: Tensor, residual: Tensor) -> Errors:
    """What the outputs miss by output, with the masked weights and with δ added to them.

    E(y − (m ⊙ w + δ) x)² = E(y − (m ⊙ w) x)² − 2 δ·r + δᵀAδ.
    """
    masked = problem.weights * problem.keep
    if problem.cross is None or problem.square is None:
        cut = problem.weights - masked
        before, square = _quadratic(cut, problem.second), _quadratic(problem.weights, problem.second)
    else:
        square = problem.square
        before = square - 2 * (masked.mT * problem.cross).sum(0) + _quadratic(masked, problem.second)
    after = before - 2 * (delta * residual.mT).sum(1) + _quadratic(delta, problem.second)
    return Errors(before.clamp_min(0), after.clamp_min(0), square)


def _residual(problem: Problem) -> Tensor:
    """r, ``(D, outputs)``; exactly zero of an output that lost nothing and whose targets are of its own inputs."""
    if problem.cross is None:
        return problem.second @ (problem.weights * ~problem.keep).mT
    return problem.cross - problem.second @ (problem.weights * problem.keep).mT


def _quadratic(rows: Tensor, second: Tensor) -> Tensor:
    return ((rows @ second) * rows).sum(1)


def _worth_inverting(kept: Tensor, problem: Problem) -> Tensor:
    """Which masks are solved through the inverse: those that cut few, where that saves more than the inverse costs."""
    width = problem.keep.shape[1]
    cut = width - kept
    fewer = cut < kept
    saved = float(((kept.double() ** 3 - cut.double() ** 3) / 3)[fewer].sum())
    certain = bool((problem.penalty > 0).any())
    return fewer if certain and saved > width**3 else torch.zeros_like(fewer)


def _through_inverse(inverse: Tensor, keep: Tensor, residual: Tensor) -> Tensor:
    free = inverse @ residual
    cut = (~keep).nonzero().flatten()
    if len(cut):
        held = torch.cholesky_solve(free[cut], _factor(inverse[cut[:, None], cut]))
        free = free - inverse[:, cut] @ held
    return free.mT * keep


def _inverse(damped: Tensor) -> Tensor:
    return torch.cholesky_inverse(_factor(damped))


def _factor(matrix: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(matrix)
    pivots = factor.diagonal().square()
    # Of a singular matrix rounding may leave a pivot just above zero, and a solution that is made of it.
    if int(failed) or bool((pivots < 1e-13 * matrix.diagonal()).any()):
        raise SingularError
    return factor


def singular(where: str, name: str, damping: float) -> ValueError:
    """The error that says which layer it is, and what to do."""
    rule = f"larger for {name!r}, whose inputs are linearly dependent where its weights are kept"
    todo = "Pass damping=0.01, or batches of more examples than a row has weights."
    return invalid(f"{where}(damping=)", rule, damping, todo)
