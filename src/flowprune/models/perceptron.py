"""The multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from torch import Tensor, nn

from flowprune.core.errors import unknown
from flowprune.models.initial import initial_weights
from flowprune.models.widths import scale_by

ACTIVATIONS: Final[dict[str, Callable[[], nn.Module]]] = {
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class MLP(nn.Module):
    """Linear layers with an activation between each two; images are flattened first.

    Shapes: (n, ...) with in_features entries per example -> (n, num_classes).
    """

    def __init__(self, widths: Sequence[int], activation: Callable[[], nn.Module], bias: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in pairwise(widths))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = x.flatten(1)
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x)


def mlp(
    in_features: int,
    widths: Sequence[int] = (128, 64),
    num_classes: int = 10,
    *,
    activation: str = "relu",
    bias: bool = True,
    width: float = 1.0,
    seed: int = 0,
) -> MLP:
    """A multi-layer perceptron with hidden layers of the given widths.

    ``width`` multiplies all of ``widths``.

    Raises:
        UnknownNameError: an unknown activation.

    Example:
        >>> model = mlp(4, (3,), num_classes=2)
        >>> sum(p.numel() for p in model.parameters())  # 4*3 + 3 + 3*2 + 2
        23
        >>> lenet = mlp(784, (300, 100))
        >>> sum(p.numel() for p in lenet.parameters() if p.dim() > 1)  # 784*300 + 300*100 + 100*10
        266200
    """
    if activation not in ACTIVATIONS:
        raise unknown("ACTIVATIONS", activation, ACTIVATIONS)
    scaled = scale_by(width)
    hidden = [scaled(channels) for channels in widths]
    with initial_weights(seed):
        return MLP((in_features, *hidden, num_classes), ACTIVATIONS[activation], bias)
