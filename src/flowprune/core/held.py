"""Which entries of a parameter are held at zero, known of the parameter itself.

Masks are applied on a higher floor than the one that runs models. Both must mean the same network: the one that trains,
in which a masked entry is no variable. So what holds is noted here, by parameter, and every floor can ask: of a model,
of a copy of it, and of a larger model that it became a part of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.utils.weak import WeakIdKeyDictionary

from flowprune.core.tensors import PIECE, count_true, for_numpy

_HELD: Any = WeakIdKeyDictionary()  # parameter -> its mask, boolean: True = kept
_FACTORS: Any = WeakIdKeyDictionary()  # parameter -> the same in its own type, once something multiplied by it


def hold(param: Tensor, mask: Tensor) -> None:
    """Note that the entries of ``param`` where ``mask`` is False, or zero, are held at zero."""
    _FACTORS.pop(param, None)
    _HELD[param] = _boolean(mask)


def let_go(param: Tensor) -> None:
    """Note that all entries are free again."""
    _FACTORS.pop(param, None)
    _HELD.pop(param, None)


def factor(param: Tensor) -> Tensor | None:
    """The mask in the parameter's type and on its device, to multiply by; None where nothing is held.

    It is as large as the parameter, and made where it is first asked for: many rounds of masks without a training step
    in between need none.
    """
    held: Tensor | None = _HELD.get(param)
    if held is None:
        return None
    made: Tensor | None = _FACTORS.get(param)
    if made is None or made.dtype != param.dtype or made.device != param.device:
        made = held.to(param.device, param.dtype)
        _FACTORS[param] = made
    return made


def astray(param: Tensor, mask: Tensor) -> Tensor:
    """Where a parameter is not zero although its mask is False; a NaN is not zero.

    Shapes: boolean, of the parameter's shape.

    Example:
        >>> astray(torch.tensor([1.0, 2.0, 0.0]), torch.tensor([True, False, False]))
        tensor([False,  True, False])
    """
    value = param.detach()
    # Numpy takes a quarter of the time that torch takes for it.
    filled = torch.from_numpy(np.not_equal(value.numpy(), 0)) if for_numpy(value) else value != 0
    return filled > mask.to(value.device)


@torch.no_grad()
def zero_(param: Tensor, mask: Tensor) -> None:
    """Set the entries of a parameter to zero where its mask is False, whatever they hold.

    Example:
        >>> weight = torch.tensor([1.0, float("nan")])
        >>> zero_(weight, torch.tensor([True, False]))
        >>> weight
        tensor([1., 0.])
    """
    if not (for_numpy(param) and param.is_contiguous() and mask.shape == param.shape and mask.is_contiguous()):
        away = astray(param, mask)  # few from round to round, and a fill of few takes a third of the time
        if count_true(away):
            param.masked_fill_(away, 0)
        return
    values, kept, moved = param.detach().numpy().reshape(-1), mask.numpy(force=True).reshape(-1), False
    for start in range(0, values.size, PIECE):
        piece = values[start : start + PIECE]
        away = np.not_equal(piece, 0)
        where = np.flatnonzero(np.greater(away, kept[start : start + PIECE], out=away))
        piece[where] = 0
        moved |= where.size > 0
    if moved:
        increment_version(param)  # what autograd saved of it is no longer what it was


def masks_on(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks that hold on parameters, by name: boolean, True = kept, on the parameters' devices.

    Shapes: as the parameters; views of what is held, to be read only, of which an axis may be spread. Parameters that
    nothing masks are left out.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(2, 2))
        >>> hold(weight, torch.tensor([[1.0], [0.0]]))
        >>> masks_on({"free": torch.ones(1), "weight": weight})["weight"]
        tensor([[ True,  True],
                [False, False]])
    """
    found: dict[str, tuple[Tensor, Tensor | None]] = {n: (param, _HELD.get(param)) for n, param in params.items()}
    return {n: mask.to(param.device).expand(param.shape) for n, (param, mask) in found.items() if mask is not None}


def _boolean(mask: Tensor) -> Tensor:
    return mask if mask.dtype == torch.bool else mask != 0
