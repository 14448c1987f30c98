"""The multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, Literal

from torch import Tensor, nn

from flowprune.core.errors import invalid, unknown
from flowprune.models.initial import initial_weights
from flowprune.models.initializers import edge_of_chaos_, normal_
from flowprune.models.kaiming import DRAWN, drawn
from flowprune.models.widths import scale_by

ACTIVATIONS: Final[dict[str, Callable[[], nn.Module]]] = {
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


INITIAL: Final = (*DRAWN, "edge_of_chaos")
"""How weights are drawn, by name; a number stands for a standard deviation."""


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


def mlp(  # noqa: PLR0913, each argument is an option of a spec
    in_features: int,
    widths: Sequence[int] = (128, 64),
    num_classes: int = 10,
    *,
    activation: str = "relu",
    bias: bool = True,
    width: float = 1.0,
    repeat: int = 1,
    initial: float | Literal["pytorch", "kaiming", "edge_of_chaos"] = "pytorch",
    sigma_b: float = 0.0,
    seed: int = 0,
) -> MLP:
    """A multi-layer perceptron with hidden layers of the given widths.

    ``width`` multiplies all of ``widths``, and there are ``repeat`` times as many of them, one round after the other.
    ``initial`` is how weights are drawn: as PyTorch draws them; ``"kaiming"``, from N(0, 2 / fan-in) whatever the
    activation, with biases of zero; from N(0, σ² / fan-in), where it is a number σ; or so, at the edge of chaos of the
    activation (:func:`flowprune.models.edge_of_chaos`). The latter two draw biases from N(0, sigma_b²).

    Raises:
        UnknownNameError: an unknown activation.
        ValueError: ``sigma_b`` beside PyTorch's or Kaiming's weights or without biases, or a number out of range.

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
    if isinstance(repeat, bool) or repeat < 1:
        raise invalid("mlp(repeat=)", "a whole number >= 1", repeat)
    if isinstance(initial, str) and initial not in INITIAL:
        raise unknown("mlp(initial=)", initial, INITIAL)
    if initial in DRAWN and sigma_b:
        todo = "Pass initial='edge_of_chaos', or a number."
        how = "where PyTorch draws the biases" if initial == "pytorch" else "with initial='kaiming'"
        raise invalid("mlp(sigma_b=)", f"0 {how}", sigma_b, todo)
    with initial_weights(seed):
        model = MLP((in_features, *hidden * repeat, num_classes), ACTIVATIONS[activation], bias)
        if initial == "edge_of_chaos":
            edge_of_chaos_(model, activation, sigma_b)
        elif isinstance(initial, str):
            drawn("mlp", model, initial)
        else:
            normal_(model, initial, sigma_b)
        return model
