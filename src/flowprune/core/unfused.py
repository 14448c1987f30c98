"""Transformer layers of PyTorch, operation by operation."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def unfused() -> Generator[None]:
    """Within the block ``nn.MultiheadAttention`` and ``nn.TransformerEncoderLayer`` take no short cut.

    In evaluation mode they are one fused operation, which shows neither what is computed nor what it costs, and which
    no other runtime has.

    Example:
        >>> before = torch.backends.mha.get_fastpath_enabled()
        >>> with unfused():
        ...     print(torch.backends.mha.get_fastpath_enabled())
        False
        >>> torch.backends.mha.get_fastpath_enabled() == before
        True
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
