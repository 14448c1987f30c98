"""Which weights signals belong to: a fingerprint of their values, cheap enough to take at every gathering."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.signals.signals import Signals

WIDTH = 1024
"""Words in a row of the table that a tensor is laid out in."""


def point_of(params: Mapping[str, Tensor]) -> str | None:
    """Twelve hexadecimal digits that name the values of some parameters; None of those without values (meta).

    Each tensor is laid out as a table of 64-bit words, and the sums of its rows and columns, modulo 2^64, are hashed:
    one value that changes changes both, and two that change places do. It costs 6 ms for ten million weights, a tenth
    of a cryptographic hash of all of them, and it is no protection against one who means to deceive. The sums are of
    integers, in any order and on any device.

    Example:
        >>> one, two = ({"w": torch.tensor([1.0, 2.0, 3.0])[order]} for order in ([0, 1, 2], [2, 1, 0]))
        >>> point_of(one) == point_of({"w": one["w"].clone()}), point_of(one) == point_of(two)
        (True, False)
    """
    if any(tensor.is_meta for tensor in params.values()):
        return None
    digest = hashlib.sha256()
    sums: list[Tensor] = []
    for name in sorted(params):
        tensor = params[name].detach()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        sums.append(_sums(tensor))
    devices = dict.fromkeys(part.device for part in sums)  # each is waited for once
    read = {device: torch.cat([part for part in sums if part.device == device]).cpu() for device in devices}
    taken = dict.fromkeys(devices, 0)
    for part in sums:
        start = taken[part.device]
        taken[part.device] = start + part.numel()
        digest.update(read[part.device][start : taken[part.device]].numpy().tobytes())
    return digest.hexdigest()[:12]


def _sums(tensor: Tensor) -> Tensor:
    """What is hashed of a tensor."""
    data = tensor.contiguous().reshape(-1).view(torch.uint8)
    odd = data.numel() % 8
    whole = data[: data.numel() - odd]
    if whole.storage_offset() % 8:  # a view into something larger
        whole = whole.clone()
    words, rest = whole.view(torch.int64), data[whole.numel() :].long()
    rows = words.numel() // WIDTH
    table, tail = words[: rows * WIDTH].view(rows, WIDTH), words[rows * WIDTH :]
    return torch.cat([table.sum(0), table.sum(1), tail, rest])


def require_same_weights(where: str, signals: Signals, model: nn.Module) -> None:
    """Raise where signals are of other parameters than a model has now.

    Raises:
        ValueError: naming the first parameter that differs.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> require_same_weights("loss_change", Signals(params={"weight": layer.weight + 1}), layer)
        Traceback (most recent call last):
        ValueError: loss_change(signals=) must be gathered at the weights that the model has now; got "others of \
'weight'". Gather them anew.
    """
    own = dict(model.named_parameters())
    for name in dict.fromkeys((*own, *signals.params)):
        found, param = signals.params.get(name), own.get(name)
        if found is None or param is None or found.shape != param.shape or not _equal(found, param.detach()):
            rule, got = "gathered at the weights that the model has now", f"others of {name!r}"
            raise invalid(f"{where}(signals=)", rule, got, "Gather them anew.")


def _equal(found: Tensor, param: Tensor) -> bool:
    return torch.equal(found.to(param), param)
