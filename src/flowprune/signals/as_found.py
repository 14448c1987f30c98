"""Run a model in one mode, and leave it, its buffers and the random state as they were found."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from flowprune.signals.signals import Mode

Restore = Callable[[], None]


def reseed(model: nn.Module, seed: int) -> None:
    """As ``torch.manual_seed``, but for the CPU and the model's own devices alone: only these are put back."""
    torch.default_generator.manual_seed(seed)
    for device in {p.device for p in model.parameters() if p.device.type == "cuda"}:
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def random_state(model: nn.Module) -> Restore:
    """Remember the global random state (torch, the model's CUDA devices, Python, numpy); call to put it back.

    Example:
        >>> restore = random_state(nn.Identity())
        >>> first = torch.rand(1)
        >>> restore()
        >>> bool(first == torch.rand(1))
        True
    """
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    cpu, cuda = torch.get_rng_state(), {device: torch.cuda.get_rng_state(device) for device in devices}
    python, numpy = random.getstate(), np.random.get_state()

    def restore() -> None:
        torch.set_rng_state(cpu)
        for device, state in cuda.items():
            torch.cuda.set_rng_state(state, device)
        random.setstate(python)
        np.random.set_state(numpy)

    return restore


class Buffers:
    """A model's buffers, set aside while copies of them take their place.

    Copies, because a batch norm in train mode writes to its buffers at every call: written to the originals, that
    would break a graph of the user's that has saved them, even if their values were put back.
    """

    def __init__(self, model: nn.Module) -> None:
        self._found = [(module, dict(module._buffers)) for module in model.modules()]

    def lend(self) -> None:
        """Put fresh copies in place; a buffer that modules share stays shared."""
        copies: dict[int, Tensor] = {}
        for module, held in self._found:
            for buffer in held.values():
                if buffer is not None and id(buffer) not in copies:
                    copies[id(buffer)] = buffer.detach().clone()
            _replace(module, {name: None if b is None else copies[id(b)] for name, b in held.items()})

    def give_back(self) -> None:
        """Put the originals in place, as they were."""
        for module, held in self._found:
            _replace(module, held)


def _replace(module: nn.Module, buffers: Mapping[str, Tensor | None]) -> None:
    module._buffers.clear()
    module._buffers.update(buffers)


@contextmanager
def as_found(model: nn.Module, mode: Mode, *, seed: int | None = None) -> Generator[Restore]:
    """Within the block the model is in ``mode`` and gradients are recorded; after it all is as before.

    The modes of modules are set one by one and not through ``model.train()``, which some models (merged
    adapters) use to change their weights. A model found in train mode is run with its modules' modes as they
    are, so normalisations that its owner froze stay frozen.

    Args:
        model: Any module.
        mode: What it runs in.
        seed: What random numbers start from in the block; None: where they stand.

    Yields:
        A function that sets buffers and random state to where they stood on entry, or to the seed.

    Example:
        >>> model = nn.Dropout()
        >>> with as_found(model, "eval"):
        ...     model.training
        False
        >>> model.training
        True
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers, randomness = Buffers(model), random_state(model)

    def rewind() -> None:
        buffers.lend()
        randomness()
        if seed is not None:
            reseed(model, seed)

    try:
        if mode == "eval" or not model.training:
            for module, _ in modes:
                module.training = mode == "train"
        with torch.inference_mode(False), torch.enable_grad():
            rewind()
            yield rewind
    finally:
        for module, training in modes:
            module.training = training
        buffers.give_back()
        randomness()
