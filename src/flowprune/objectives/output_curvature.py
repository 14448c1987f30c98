"""The Hessian of an example's loss in the outputs of the network, as columns v with Σ v vᵀ = ∇²_z ℓ.

Pulled back through the network, the columns give the generalised Gauss-Newton matrix Jᵀ(∇²_z ℓ)J of the example, of
which the diagonal is Σ (Jᵀv)². Of cross-entropy that is the Fisher matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flowprune.core.errors import invalid
from flowprune.objectives.objective import PerExample

if TYPE_CHECKING:
    from torch import Tensor


class OutputCurvature(Protocol):
    """∇²_z ℓ of each example of a batch, given the outputs z ``(n, ...)``.

    Shapes: each column or sample is of the shape of the outputs.
    """

    def count(self, outputs: Tensor) -> int:
        """How many columns an example has."""
        ...

    def columns(self, outputs: Tensor, batch: Any) -> Iterator[Tensor]:
        """Columns v with Σ v vᵀ = ∇²_z ℓ, for all examples at once."""
        ...

    def samples(self, outputs: Tensor, batch: Any, times: int) -> Iterator[Tensor]:
        """Random v with E[v vᵀ] = ∇²_z ℓ, drawn from the global generator."""
        ...

    def bytes(self, outputs: Tensor) -> int:
        """What an example takes of memory beside its columns."""
        ...


@dataclass(frozen=True)
class Derived:
    """By differentiating any convex loss twice in its outputs, and taking the root of what comes out.

    Assumes: the loss is a function of what one call of ``forward`` returned, and convex in it.

    Attributes:
        per_example: The loss of each example.

    Raises:
        ValueError: (from its methods) the loss is no such function, or not convex.

    Example:
        >>> import torch
        >>> square = Derived(lambda forward, batch: forward(batch).square().sum(1))
        >>> [column.tolist() for column in square.columns(torch.ones(1, 1), torch.ones(1, 1))]  # √2
        [[[1.4142135381698608]]]
    """

    per_example: PerExample

    def count(self, outputs: Tensor) -> int:
        """One for each output."""
        return outputs[0].numel()

    def columns(self, outputs: Tensor, batch: Any) -> Iterator[Tensor]:
        """The columns of the root."""
        root = self._root(outputs, batch)
        for index in range(root.shape[2]):
            yield root[:, :, index].reshape_as(outputs)

    def samples(self, outputs: Tensor, batch: Any, times: int) -> Iterator[Tensor]:
        """The root times random signs."""
        root = self._root(outputs, batch)
        for _ in range(times):
            yield (root @ random_signs(root[:, 0, :, None])).reshape_as(outputs)

    def bytes(self, outputs: Tensor) -> int:
        """Of ∇²_z ℓ and its root, in float64, with what finding them takes."""
        return 48 * self.count(outputs) ** 2

    def _root(self, outputs: Tensor, batch: Any) -> Tensor:
        """``(n, k, k)`` with ∇²_z ℓ = root rootᵀ."""
        import torch

        hessian = self._hessian(outputs, batch)
        values, vectors = torch.linalg.eigh(hessian.double())
        least, rounding = values.amin(1), 16 * torch.finfo(hessian.dtype).eps
        if bool((least < -1e-5 * values.abs().amax(1) - rounding).any()):
            rule = "a loss that is convex in the outputs, for the Gauss-Newton matrix to be a curvature of it"
            todo = "Ask for curvature='empirical' or 'hutchinson'."
            raise invalid("objective.per_example", rule, f"an eigenvalue of {float(least.min()):.3g}", todo)
        return (vectors * values.clamp_min(0).sqrt()[:, None]).to(outputs.dtype)

    def _hessian(self, outputs: Tensor, batch: Any) -> Tensor:
        """In float64, where the loss takes that: it may be far smaller than what rounding leaves of it."""
        try:
            return self._differentiated(outputs.detach().double(), batch)
        except RuntimeError:
            return self._differentiated(outputs.detach(), batch)

    def _differentiated(self, outputs: Tensor, batch: Any) -> Tensor:
        import torch

        with torch.enable_grad():
            z = outputs.requires_grad_()
            loss = loss_at(self.per_example, z, batch).sum()
            (slope,) = torch.autograd.grad(loss, z, create_graph=True, materialize_grads=True)
            rows = (
                torch.autograd.grad(entry, z, retain_graph=True, materialize_grads=True)[0].flatten(1)
                if entry.requires_grad
                else torch.zeros_like(z).flatten(1)
                for entry in slope.flatten(1).sum(0)
            )
            hessian = torch.stack(list(rows), 1)
        return 0.5 * (hessian + hessian.transpose(1, 2))


def loss_at(per_example: PerExample, outputs: Tensor, batch: Any) -> Tensor:
    """The losses ``(n,)`` of examples for which the network puts out ``outputs``.

    Raises:
        ValueError: the objective does not take what it calls ``forward`` for a function that returns a tensor.

    Example:
        >>> import torch
        >>> loss_at(lambda forward, x: forward(x).sum(1), torch.tensor([[1.0, 2.0]]), torch.zeros(1, 3))
        tensor([3.])
    """
    try:
        return per_example(lambda *_, **__: outputs, batch)
    except (AttributeError, TypeError, KeyError, IndexError) as error:
        rule = "a function of the tensor that forward(...) returns, for the Gauss-Newton matrix to be defined"
        todo = "Read the outputs with flowprune.objectives.batch.outputs, or ask for curvature='hutchinson'."
        raise invalid("objective.per_example", rule, f"{type(error).__name__}: {error}", todo) from error


def random_signs(like: Tensor) -> Tensor:
    """+1 or -1 with equal probability, from the global generator.

    Example:
        >>> import torch
        >>> random_signs(torch.zeros(3)).abs()
        tensor([1., 1., 1.])
    """
    import torch

    return torch.randint(0, 2, like.shape, device=like.device).to(like.dtype).mul_(2).sub_(1)


@dataclass(frozen=True)
class Square:
    """Of the mean over k outputs of (z - y)²: ∇²_z ℓ = (2/k) I.

    Example:
        >>> import torch
        >>> [column.tolist() for column in Square().columns(torch.zeros(1, 2), None)]  # √(2/2) = 1
        [[[1.0, 0.0]], [[0.0, 1.0]]]
    """

    def count(self, outputs: Tensor) -> int:
        """One for each output."""
        return outputs[0].numel()

    def columns(self, outputs: Tensor, batch: Any) -> Iterator[Tensor]:
        """√(2/k) times the unit vectors."""
        k = self.count(outputs)
        for index in range(k):
            column = outputs.new_zeros(len(outputs), k)
            column[:, index] = math.sqrt(2 / k)
            yield column.view(outputs.shape)

    def samples(self, outputs: Tensor, batch: Any, times: int) -> Iterator[Tensor]:
        """√(2/k) times random signs."""
        for _ in range(times):
            yield random_signs(outputs).mul_(math.sqrt(2 / self.count(outputs)))

    def bytes(self, outputs: Tensor) -> int:
        """Nothing."""
        return 0
