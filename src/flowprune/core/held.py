"""Which entries of a parameter are held at zero, known of the parameter itself.

Masks are applied on a higher floor than the one that runs models. Both must mean the same network: the one that trains,
in which a masked entry is no variable. So what holds is noted here, by parameter, and every floor can ask: of a model,
of a copy of it, and of a larger model that it became a part of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_HELD: Any = WeakIdKeyDictionary()  # parameter -> its mask: 1 = kept, of the parameter's type, as it is multiplied by


def hold(param: Tensor, mask: Tensor) -> None:
    """Note that the entries of ``param`` where ``mask`` is zero are held at zero."""
    _HELD[param] = mask


def let_go(param: Tensor) -> None:
    """Note that all entries are free again."""
    _HELD.pop(param, None)


def factor(param: Tensor) -> Tensor | None:
    """The mask as it was noted, to multiply by; None where nothing is held."""
    return _HELD.get(param)


def masks_on(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks that hold on parameters, by name: boolean, True = kept, on the parameters' devices.

    Shapes: as the parameters; views, of which an axis may be spread. Parameters that nothing masks are left out.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(2, 2))
        >>> hold(weight, torch.tensor([[1.0], [0.0]]))
        >>> masks_on({"free": torch.ones(1), "weight": weight})["weight"]
        tensor([[ True,  True],
                [False, False]])
    """
    found = {name: (param, factor(param)) for name, param in params.items()}
    return {
        n: (mask != 0).to(param.device).expand(param.shape) for n, (param, mask) in found.items() if mask is not None
    }
