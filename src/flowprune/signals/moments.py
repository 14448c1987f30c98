"""The first two moments of what a module puts out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and mean square of one module's output, per channel, over examples and positions.

    Attributes:
        mean: ``(channels,)``, E[a_c].
        mean_square: ``(channels,)``, E[a_c^2].

    Example:
        >>> import torch
        >>> Moments(mean=torch.tensor([1.0]), mean_square=torch.tensor([5.0])).variance
        tensor([4.])
    """

    mean: Tensor
    mean_square: Tensor

    @property
    def variance(self) -> Tensor:
        """E[a_c^2] - E[a_c]^2, never below zero."""
        return (self.mean_square - self.mean.square()).clamp_min(0)
