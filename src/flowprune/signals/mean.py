"""A sample-weighted running mean of lists of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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
        self._dtypes: list[torch.dtype] = []
        self._first = 0
        self.samples = 0

    def add(self, tensors: Sequence[Tensor], samples: int) -> None:
        """Take in the mean over ``samples`` examples."""
        wide = [tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]
        if not self.samples:
            # A clone: autograd may hand out expanded tensors, or ones that share memory.
            self._total = [tensor.clone(memory_format=torch.contiguous_format) for tensor in wide]
            self._dtypes = [tensor.dtype for tensor in tensors]
            self._first = samples
        else:
            torch._foreach_add_(self._total, wide, alpha=samples / self._first)
        self.samples += samples

    def result(self) -> list[Tensor]:
        """The mean so far, in the dtypes that came in."""
        if self.samples != self._first:
            scaled = torch._foreach_div(self._total, self.samples / self._first)
        else:
            scaled = self._total
        return [tensor.to(dtype) for tensor, dtype in zip(scaled, self._dtypes, strict=True)]
