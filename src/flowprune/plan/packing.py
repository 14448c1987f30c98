"""Indices and masks as JSON where they are short, and as bits in a tensor file where they are long."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowprune.masks.storage import pack, unpack

SHORT = 32
"""Positions up to this count are written as numbers."""
Store = dict[str, Tensor]
"""What goes to the tensor file, by name."""


def pack_positions(positions: Tensor, key: str, store: Store) -> Any:
    """Positions, in whatever order, as a list, or as ``{"packed": name, "bits": length}`` with the bits in the store.

    Example:
        >>> store = {}
        >>> pack_positions(torch.tensor([0, 2]), "packed/w", store), pack_positions(torch.arange(99), "packed/v", store)
        ([0, 2], {'packed': 'packed/v', 'bits': 99})
    """
    if len(positions) <= SHORT:
        return positions.tolist()
    bits = torch.zeros(int(positions.max()) + 1, dtype=torch.bool)
    bits[positions] = True
    store[key] = pack(bits)
    return {"packed": key, "bits": len(bits)}


def unpack_positions(packed: Any, store: Store) -> Tensor:
    """What :func:`pack_positions` packed."""
    if isinstance(packed, list):
        return torch.tensor(packed, dtype=torch.int64)
    return unpack(store[packed["packed"]], [packed["bits"]]).nonzero().flatten()


def pack_mask(mask: Tensor, key: str, store: Store) -> dict[str, Any]:
    """A boolean tensor as its shape, with the bits in the store."""
    store[key] = pack(mask)
    return {"packed": key, "shape": list(mask.shape)}


def unpack_mask(packed: dict[str, Any], store: Store) -> Tensor:
    """What :func:`pack_mask` packed."""
    return unpack(store[packed["packed"]], packed["shape"])
