"""Initial weights from a named seed stream."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

from flowprune.core.seeds import derive


@contextmanager
def initial_weights(seed: int) -> Generator[None]:
    """Modules built inside draw their weights from ``derive(seed, "init")``, on the CPU.

    PyTorch's own initialisers read the global generator, so it is set for the block and put back after it.
    Drawn on the CPU, a seed means the same weights whatever the device the model moves to.

    Example:
        >>> before = torch.get_rng_state()
        >>> def weight(seed):
        ...     with initial_weights(seed):
        ...         return torch.nn.Linear(2, 2).weight
        >>> bool((weight(0) == weight(0)).all()), bool((weight(0) == weight(1)).any())
        (True, False)
        >>> bool((before == torch.get_rng_state()).all())
        True
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(derive(seed, "init"))  # torch.manual_seed would reseed CUDA as well
        yield
