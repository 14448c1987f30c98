"""Initial weights as Kaiming et al. draw them, for networks whose builder can also leave PyTorch's own."""

from __future__ import annotations

import math
from typing import Final, TypeVar

from torch import nn

from flowprune.core.errors import renamed, unknown

M = TypeVar("M", bound=nn.Module)
DRAWN: Final = ("pytorch", "kaiming")
"""How weights are drawn whatever the activation, by name."""


def kaiming_(model: nn.Module) -> None:
    """Draw the weights of all linear and convolutional layers anew, in place; their biases are 0.

    Formula: W ~ N(0, 2 / fan-in). Other modules, such as batch norms, stay as they are.

    Raises:
        ValueError: no module, or one without such layers.

    Source: K. He, X. Zhang, S. Ren & J. Sun, 2015, arXiv:1502.01852.

    Example:
        >>> layer = nn.Linear(400, 300)
        >>> kaiming_(layer)
        >>> abs(float(layer.weight.detach().var()) * 400 - 2) < 0.05, bool(layer.bias.any())
        (True, False)
    """
    from flowprune.models.initializers import normal_  # brings scipy, which other networks have no use for

    with renamed({"normal_(": "kaiming_("}):
        normal_(model, math.sqrt(2.0))


def drawn(where: str, model: M, initial: str) -> M:
    """A network as PyTorch drew its weights, or with ``initial="kaiming"`` drawn anew: see :func:`kaiming_`.

    Raises:
        UnknownNameError: another way; ``where`` names the builder.

    Example:
        >>> bool(drawn("toy", nn.Linear(2, 2), "kaiming").bias.any())
        False
    """
    if initial not in DRAWN:
        raise unknown(f"{where}(initial=)", initial, DRAWN)
    if initial == "kaiming":
        kaiming_(model)
    return model
