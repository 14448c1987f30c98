"""The N:M granularity: of every m weights in a row, the n best stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flowprune.core.arguments import require_size
from flowprune.core.errors import PruningError, invalid
from flowprune.masks.offered import offered, require_skip, warn_left_out
from flowprune.masks.weight_group import WeightGroup
from flowprune.signals import Signals

CHUNK = 1 << 17
"""Runs that are looked at together."""


@dataclass(frozen=True)
class NM:
    """Prune single weights such that of every m consecutive inputs of an output exactly n stay, its highest-scored.

    The sparsity is 1 - n/m, and no other; ties go to the lower position. No ranking over a layer or the model decides
    where all of it is cut at once. On the way there, in rounds, the n best of every m stay, and the lowest-scored of
    the others go first.

    The m weights lie along the input axis, as sparse matrix units have it (2:4 on NVIDIA GPUs): for a linear layer side
    by side in a row of the weight, for a convolution at m consecutive input channels, at one and the same
    position of the kernel. That is what a convolution with channels last multiplies by; ``weight.permute(0, 2, 3,
    1).reshape(out, -1)`` has N:M rows then. A weight whose inputs (of one group) are no multiple of m does not fit: it
    stays whole and is not counted. :meth:`left_out` names these, and a warning does, unless they are skipped.

    Shapes: scores and masks have the shape of the weight.

    Source: Mishra et al. (2021), Accelerating Sparse Deep Neural Networks, arXiv 2104.08378 (2:4); Zhou et al. (2021),
    Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch, arXiv 2102.04010.

    Attributes:
        n: How many of every m stay, at least 1.
        m: The length of a run, above n.
        skip: Patterns (``fnmatch``) of parameter names that are not offered at all, so not counted either.

    Raises:
        ValueError: not 1 <= n < m, or a pattern that fits no parameter.

    Example:
        >>> from flowprune.masks import select
        >>> from flowprune.measures import score
        >>> signals = Signals(params={"w": torch.tensor([[3.0, -1.0, 2.0, 0.0, 5.0, 5.0, 5.0, 9.0]])})
        >>> select(score("magnitude", signals, NM(2, 4)))["w"].int()
        tensor([[1, 0, 1, 0, 1, 0, 0, 1]], dtype=torch.int32)
    """

    n: int
    m: int
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_size("NM(n=)", self.n)
        require_size("NM(m=)", self.m)
        if self.n >= self.m:
            raise invalid("NM(n=, m=)", "n < m: n of every m stay", (self.n, self.m))
        require_skip("NM", self.skip)

    @property
    def name(self) -> str:
        """The word used in specs and reports, such as ``nm:2:4``."""
        return f"nm:{self.n}:{self.m}"

    @property
    def unit(self) -> str:
        """What the units are called."""
        return f"{self.n}:{self.m} weights"

    @property
    def removes(self) -> bool:
        """They are held at zero."""
        return False

    @property
    def sparsity(self) -> float:
        """The one it ends at: 1 - n/m."""
        return 1.0 - self.n / self.m

    def layout(self, signals: Signals) -> dict[str, WeightGroup]:
        """The weights that fit, in the model's order; a warning names those that do not."""
        odd = self.left_out(signals)
        warn_left_out(f"NM({self.n}, {self.m})", odd)
        plain = replace(self, skip=())
        return {
            name: WeightGroup(name, tuple(weight.shape), plain, inputs_first=first)
            for name, (weight, first) in offered("NM", signals, self.skip).items()
            if name not in odd
        }

    def left_out(self, signals: Signals) -> dict[str, str]:
        """The weights that do not fit, with the reason, by name.

        Example:
            >>> NM(2, 4).left_out(Signals(params={"conv.weight": torch.ones(8, 3, 3, 3)}))
            {'conv.weight': '3 inputs are no multiple of 4'}
        """
        inputs = {n: w.shape[0 if first else 1] for n, (w, first) in offered("NM", signals, self.skip).items()}
        return {n: f"{count} inputs are no multiple of {self.m}" for n, count in inputs.items() if count % self.m}

    def grid(self, weight: Sequence[int]) -> tuple[int, ...]:
        """Every weight is a unit."""
        return tuple(weight)

    def total(self, values: Tensor) -> Tensor:
        """Every weight is a unit."""
        return values

    def spread(self, mask: Tensor, weight: Sequence[int]) -> Tensor:
        """Every weight is a unit."""
        del weight
        return mask

    def fan_in(self, weight: Tensor) -> Tensor:
        """The weights of the output, as for any single weight."""
        return torch.full_like(weight, weight[0].numel())

    def required(self, scores: Tensor, alive: Tensor | None) -> Tensor:
        """The n best of every m.

        Raises:
            PruningError: fewer than n of some m are alive.
        """
        living = None if alive is None or bool(alive.all()) else _runs(alive, self.m)
        if living is not None and bool((short := living.sum(-1) < self.n).any()):
            raise PruningError(
                f"select(within=) must leave {self.n} of every {self.m} weights to keep; {int(short.sum())} runs have "
                "fewer. Start from weights that are not masked, or keep fewer of them."
            )
        return _best(_runs(scores, self.m), living, self.n).flatten(-2).movedim(-1, 1)


def is_n_m(mask: Tensor, n: int, m: int, *, axis: int = 1) -> bool:
    """Whether exactly n of every m consecutive entries along the input axis are kept.

    Args:
        mask: Of a weight's shape, True = kept.
        n: Of every m.
        m: Along the axis.
        axis: That of the inputs: 1, but 0 for transposed convolutions.

    Example:
        >>> is_n_m(torch.tensor([[True, False, False, True]]), 2, 4), is_n_m(torch.ones(1, 4, dtype=torch.bool), 2, 4)
        (True, False)
    """
    if mask.shape[axis] % m:
        return False
    return bool((_runs(mask.movedim(axis, 1), m).sum(-1) == n).all())


def _runs(tensor: Tensor, m: int) -> Tensor:
    """The same entries with runs of m inputs on the last axis."""
    return tensor.movedim(1, -1).unflatten(-1, (-1, m))


def _best(runs: Tensor, alive: Tensor | None, n: int) -> Tensor:
    """Where an entry is among the n highest of its run."""
    flat = runs.reshape(-1, runs.shape[-1]).split(CHUNK)
    living = [None] * len(flat) if alive is None else alive.reshape(-1, runs.shape[-1]).split(CHUNK)
    return torch.cat([_best_of_few(*few, n) for few in zip(flat, living, strict=True)]).view(runs.shape)


def _best_of_few(runs: Tensor, alive: Tensor | None, n: int) -> Tensor:
    """The same for runs that fit the cache: those that beat an entry are counted, several times faster than sorting."""
    columns = [column.contiguous() for column in runs.unbind(-1)]
    living = None if alive is None else alive.unbind(-1)
    beaten = [torch.zeros_like(column, dtype=torch.int16) for column in columns]
    for i, first in enumerate(columns):
        for j in range(i + 1, len(columns)):
            later = first < columns[j]  # of two equal ones the first wins
            if living is not None:
                later = (later | ~living[i]) & living[j]
            beaten[i] += later
            beaten[j] += ~later
    best = torch.stack([count < n for count in beaten], -1)
    return best if alive is None else best & alive
