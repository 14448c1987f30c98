"""A sample-weighted running mean of lists of tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flowprune.core.held import astray
from flowprune.core.tensors import PIECE, count_true, for_numpy


class Mean:
    """sum_b n_b x_b / sum_b n_b, accumulated in at least float32.

    Weights are taken relative to the first, so the mean of one entry, or of entries of equal size, is not
    rounded by a multiplication.

    Example:
        >>> mean = Mean()
        >>> mean.add([torch.tensor(1.0)], 1)
        >>> mean.add([torch.tensor(5.0)], 3)
        >>> mean.result()
        [tensor(4.)]
    """

    def __init__(self) -> None:
        self._total: list[Tensor] = []
        self._lent = False  # whether they are the very tensors that came in
        self._dtypes: list[torch.dtype] = []
        self._first = 0
        self.samples = 0

    def add(self, tensors: Sequence[Tensor], samples: int) -> None:
        """Take in the mean over ``samples`` examples."""
        wide = [tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]
        if not self.samples:
            self._total, self._lent = wide, True
            self._dtypes = [tensor.dtype for tensor in tensors]
            self._first = samples
        elif self._lent:
            self._total, self._lent = list(torch._foreach_add(self._total, wide, alpha=samples / self._first)), False
        else:
            torch._foreach_add_(self._total, wide, alpha=samples / self._first)
        self.samples += samples

    def result(self, kept: Sequence[Tensor | None] | None = None, *, copies: bool = True) -> list[Tensor]:
        """The mean, in the dtypes that came in, and with zeros where ``kept`` says so. It is given away: call it once.

        Each tensor is let go before the next one is made, whose memory it can then be. Without ``copies`` the mean of
        one entry may be the very tensors that came in.

        Example:
            >>> mean = Mean()
            >>> mean.add([torch.tensor([1.0, float("nan")])], 1)
            >>> mean.result([torch.tensor([True, False])])
            [tensor([1., 0.])]
        """
        totals, self._total = self._total[::-1], []
        masks = [None] * len(totals) if kept is None else kept
        lends = self._lent and copies
        return [self._finished(totals.pop(), dtype, m, lends) for dtype, m in zip(self._dtypes, masks, strict=True)]

    def _finished(self, total: Tensor, dtype: torch.dtype, kept: Tensor | None, lent: bool) -> Tensor:
        if self.samples != self._first:
            total = total.div_(self.samples / self._first)
        found = total if kept is None else live(total, kept)
        # A clone of what came in: autograd may hand out expanded tensors, or ones that share memory.
        own = found.clone(memory_format=torch.contiguous_format) if lent and found is total else found.contiguous()
        return own.to(dtype)


def live(tensor: Tensor, kept: Tensor) -> Tensor:
    """The tensor with zeros where ``kept`` is False, whatever is there; itself where they are zero already.

    A product takes a third of the time of a choice, but leaves a NaN what it is: a sum shows whether there is one. On a
    CPU both are taken in pieces that fit the cache.

    Example:
        >>> live(torch.tensor([2.0, float("inf")]), torch.tensor([True, False]))
        tensor([2., 0.])
    """
    corner = (slice(0, 1),) * (tensor.dim() - 1)  # mostly a look at a few shows that they are not
    zero = not count_true(astray(tensor[corner], kept[corner]))
    if zero and not count_true(astray(tensor, kept)):  # of |theta|, for one, the derivative at zero is zero
        return tensor
    found, finite = _product(tensor, kept)
    return found if finite else tensor.masked_fill(~kept, 0)


def _product(tensor: Tensor, kept: Tensor) -> tuple[Tensor, bool]:
    """The product, and whether all of it is finite (a sum that overflows says no)."""
    if not (for_numpy(tensor) and tensor.is_contiguous() and kept.is_contiguous()):
        found = torch.mul(tensor, kept)
        return found, bool(torch.isfinite(found.sum()))
    found = torch.empty_like(tensor)
    factors, mask, out = tensor.detach().numpy().reshape(-1), kept.numpy().reshape(-1), found.numpy().reshape(-1)
    total = 0.0
    with np.errstate(all="ignore"):
        for start in range(0, out.size, PIECE):
            piece = slice(start, start + PIECE)
            total += float(np.multiply(factors[piece], mask[piece], out=out[piece]).sum())
    return found, math.isfinite(total)
