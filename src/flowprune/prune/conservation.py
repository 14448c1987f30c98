"""Whether saliency is conserved: the same in sum for every layer, and into every unit as out of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from statistics import median

from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.core.tensors import wide


def layer_residuals(contributions: Mapping[str, Tensor]) -> dict[str, float]:
    """How far each layer's total of θ·g is from that of the others.

    Formula: residual_l = |S_l - median(S)| / max|S|, S_l = Σ θ·g over the weights of layer l; zero where all are zero.
    Units: a fraction of the largest total.
    Assumes: g is the derivative of one number R of the outputs, and the layers are a chain of positively homogeneous
        ones without biases (linear layers, convolutions, ReLU, pools, norms in evaluation mode with mean zero and no
        shift): every path passes every layer exactly once, so each total is Σ output·∂R/∂output. Layers in a branch
        beside a shortcut are not such: paths go around them, and they hold less.

    Args:
        contributions: Signed θ·g by name of a weight; with fewer than two axes they are left out.

    Raises:
        ValueError: no weights.

    Source: Tanaka et al. (2020), arXiv 2006.05467.

    Example:
        >>> import torch
        >>> layer_residuals({"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[3.0]]), "c": torch.tensor([[4.0]])})
        {'a': 0.0, 'b': 0.0, 'c': 0.25}
    """
    weights = {name: value for name, value in contributions.items() if value.dim() > 1}
    if not weights:
        todo = "Pass θ·g of the layers of a chain, such as the scores of 'synflow'."
        raise invalid("layer_residuals(contributions=)", "of one weight or more", sorted(contributions), todo)
    totals = {name: float(wide(value).sum()) for name, value in weights.items()}
    middle, largest = median(totals.values()), max(abs(total) for total in totals.values())
    return {name: abs(total - middle) / largest if largest else 0.0 for name, total in totals.items()}


def unit_residuals(contributions: Mapping[str, Tensor]) -> dict[str, float]:
    """How far the saliency into each hidden unit is from that out of it, for each layer that reads another.

    Formula: max_j |Σ into j - Σ out of j| / max of both, over the units j between two consecutive weights.
    Shapes: (out, in, ...) each; the inputs of a linear layer may be the flattened positions of channels.
    Assumes: what :func:`layer_residuals` does, and that the names are in the order of the chain. A pair whose sizes do
        not meet is left out, such as one with a grouped convolution.

    Returns:
        By name of the second weight of each pair.

    Example:
        >>> import torch
        >>> first, second = torch.tensor([[1.0, 1.0], [0.0, 3.0]]), torch.tensor([[2.0, 4.0]])
        >>> unit_residuals({"a": first, "b": second})  # 2 into and out of the first unit; 3 into the second, 4 out
        {'b': 0.25}
    """
    weights = [(name, wide(value)) for name, value in contributions.items() if value.dim() > 1]
    found: dict[str, float] = {}
    for (_, before), (name, after) in pairwise(weights):
        units = before.shape[0]
        if after.shape[1] % units:
            continue
        into = before.reshape(units, -1).sum(1)
        out = after.transpose(0, 1).reshape(units, -1).sum(1)
        largest = max(float(into.abs().max()), float(out.abs().max()))
        found[name] = float((into - out).abs().max()) / largest if largest else 0.0
    return found
