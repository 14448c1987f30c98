"""Moments of every module's output, kept while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.core.tensors import has_float64
from flowprune.signals.moments import Moments

CHANNELS_SECOND = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)


class _Sums:
    """Running sums of one module: in float64 where the device has it, so that long sweeps do not drift.

    They stay on the device until the sweep is over: a copy to the CPU would make a GPU wait at every module.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        wide = torch.float64 if has_float64(device) else torch.float32
        self.first = torch.zeros(channels, dtype=wide, device=device)
        self.second = torch.zeros(channels, dtype=wide, device=device)
        self.count = 0

    def add(self, values: Tensor, *, second: bool) -> None:
        """Take in an output whose channels are on axis 1, or else on the last."""
        x = values.flatten(2) if second and values.ndim > 2 else values.reshape(-1, values.shape[-1])
        axes = (0, 2) if x.ndim == 3 else (0,)
        squares = torch.linalg.vecdot(x, x) if x.ndim == 3 else x.square()
        self.first += x.sum(axes).to(self.first)
        self.second += squares.sum(0, dtype=self.second.dtype).to(self.second)
        self.count += values.numel() // len(self.first)

    def moments(self, dtype: torch.dtype) -> Moments:
        """On the CPU, in this type."""
        mean, mean_square = (torch.stack((self.first, self.second)) / self.count).cpu().to(dtype)
        return Moments(mean, mean_square)


@contextmanager
def recorded(model: nn.Module, *, active: bool = True) -> Generator[Callable[[], dict[str, Moments] | None]]:
    """Within the block, note the outputs of all modules that return one floating-point tensor.

    Outputs of a module that is called several times are taken together. The channel axis is axis 1 of
    convolutions, of norms over channels and of anything with four axes or more, else the last. Moments are in the
    outputs' type, and in float32 where that is narrower: the square of 300 is no number of float16.

    Yields:
        A function that returns the moments so far by module name, or ``None`` where not ``active``.

    Example:
        >>> model = nn.Sequential(nn.Identity())
        >>> with recorded(model) as moments:
        ...     _ = model(torch.tensor([[1.0], [3.0]]))
        >>> (moments() or {})["0"]
        Moments(mean=tensor([2.]), mean_square=tensor([5.]))
    """
    sums: dict[str, _Sums] = {}
    dtypes: dict[str, torch.dtype] = {}
    handles = [
        module.register_forward_hook(_noting(name, sums, dtypes))
        for name, module in model.named_modules()
        if active and name
    ]

    def moments() -> dict[str, Moments] | None:
        if not active:
            return None
        return {name: each.moments(dtypes[name]) for name, each in sums.items()}

    try:
        yield moments
    finally:
        for handle in handles:
            handle.remove()


def _noting(name: str, sums: dict[str, _Sums], dtypes: dict[str, torch.dtype]) -> Callable[..., None]:
    def note(module: nn.Module, args: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim < 2:
            return
        values = output.detach().to(torch.promote_types(output.dtype, torch.float32))
        second = values.ndim >= 4 or isinstance(module, CHANNELS_SECOND)
        dtypes[name] = values.dtype
        if name not in sums:
            sums[name] = _Sums(values.shape[1 if second else -1], values.device)
        sums[name].add(values, second=second)

    return note
