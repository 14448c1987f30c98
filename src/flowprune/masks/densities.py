"""How dense each layer is, from the shapes of the weights alone: no data, no training, no scores.

With random positions at these densities a network is the baseline that a measure has to beat. A density is the fraction
kept of the weights with two or more axes: exactly ``round(density * n)`` of the n weights stay. No layer is emptied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real

from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.masks.allocation import Allocation
from flowprune.masks.apportion import apportion
from flowprune.masks.shapes import Shapes, weight_shapes

LAST_PARTS = 5
"""Of the last fully connected layer one weight in so many stays in :func:`uniform_plus`: 20 %."""
LOW = 1 / LAST_PARTS
"""Densities below this one are those that it holds for."""


def erdos_renyi_kernel(shapes: Shapes | nn.Module, density: float) -> Allocation:
    """ERK: the larger a weight, the sparser, the size of the kernel taken into account.

    Formula: p_l = min(1, ε Σ(shape_l) / Π(shape_l)), with ε such that Σ p_l n_l = round(density n). A layer that would
    have p > 1 is dense, and the others share what is left, as the published loop finds by going round. Kept are
    p_l n_l = ε Σ(shape_l) weights, so shares are proportional to Σ(shape_l), rounded by
    :func:`~flowprune.masks.apportion.apportion`.

    Args:
        shapes: Shapes of the weights by name in the model's order, or a model; see
            :func:`~flowprune.masks.shapes.weight_shapes`.
        density: Fraction of all of these weights that is kept, in (0, 1].

    Raises:
        ValueError: a density out of range, or too low for one weight in each layer; a weight with fewer than two axes.

    Source: U. Evci et al. (2020), Rigging the Lottery, arXiv 1911.11134; S. Liu et al. (2022), The Unreasonable
    Effectiveness of Random Pruning, arXiv 2202.02643.

    Example:
        >>> found = erdos_renyi_kernel({"conv": (3, 6, 2, 2), "fc": (4, 12)}, 58 / 120)
        >>> found.per_layer()["conv"].kept, found.per_layer()["fc"].kept     # 3 + 6 + 2 + 2 = 13, 4 + 12 = 16; times 2
        (26, 32)
    """
    return _shared("erdos_renyi_kernel", shapes, density, sum)


def erdos_renyi(shapes: Shapes | nn.Module, density: float) -> Allocation:
    """ER: as :func:`erdos_renyi_kernel`, but of inputs and outputs alone; each position of a kernel is alike.

    Formula: p_l = min(1, ε (n_in + n_out) / (n_in n_out)), with ε such that Σ p_l n_l = round(density n).

    Args:
        shapes: As of :func:`erdos_renyi_kernel`.
        density: Fraction of all of these weights that is kept, in (0, 1].

    Raises:
        ValueError: as :func:`erdos_renyi_kernel`.

    Source: D. C. Mocanu et al. (2018), Scalable Training of Artificial Neural Networks with Adaptive Sparse
    Connectivity, arXiv 1707.04780.

    Example:
        >>> found = erdos_renyi({"a": (8, 8), "b": (2, 8)}, 26 / 80)     # 16 : 10
        >>> found.per_layer()["a"].kept, found.per_layer()["b"].kept
        (16, 10)
    """
    return _shared("erdos_renyi", shapes, density, lambda shape: (shape[0] + shape[1]) * math.prod(shape[2:]))


def uniform(shapes: Shapes | nn.Module, density: float) -> Allocation:
    """Every layer has the same density, up to whole weights.

    Formula: p_l = density.

    Args:
        shapes: As of :func:`erdos_renyi_kernel`.
        density: Fraction of all of these weights that is kept, in (0, 1].

    Raises:
        ValueError: as :func:`erdos_renyi_kernel`.

    Example:
        >>> dict(uniform({"a": (2, 4), "b": (4, 4)}, 0.25))
        {'a': 0.75, 'b': 0.75}
    """
    return _shared("uniform", shapes, density, math.prod)


def uniform_plus(shapes: Shapes | nn.Module, density: float) -> Allocation:
    """The same density everywhere, but the first convolution is dense and the last fully connected layer 20 % at least.

    The latter holds where the target is below 20 %.

    Formula: the other layers share p = (density n - n_first - 0.2 n_last) / (n - n_first - n_last). The published code
    divides by all n, and so keeps fewer weights than asked.

    The first convolution is the first weight with three or more axes; the last fully connected layer is the last weight
    with two. A network without convolutions has no dense layer.

    Args:
        shapes: As of :func:`erdos_renyi_kernel`.
        density: Fraction of all of these weights that is kept, in (0, 1].

    Raises:
        ValueError: as :func:`erdos_renyi_kernel`, or these two layers alone need more; the message says which density
            is the smallest.

    Source: T. Gale, E. Elsen & S. Hooker (2019), The State of Sparsity in Deep Neural Networks, arXiv 1902.09574; as
    compared in arXiv 2202.02643.

    Example:
        >>> found = uniform_plus({"conv1": (4, 1, 3, 3), "conv2": (20, 4, 3, 3), "fc": (10, 20)}, 0.15)
        >>> {name: count.kept for name, count in found.per_layer().items()}     # round(143.4) - 36 - 40 = 67 of 720
        {'conv1': 36, 'conv2': 67, 'fc': 40}
    """
    checked = _checked("uniform_plus", shapes)
    sizes = {name: math.prod(shape) for name, shape in checked.items()}
    first = [name for name, shape in checked.items() if len(shape) > 2][:1]
    last = [name for name, shape in checked.items() if len(shape) == 2][-1:]
    whole = {name: sizes[name] for name in first}
    low = {**whole, **{name: -(-sizes[name] // LAST_PARTS) for name in last}}
    smallest, otherwise = (sum(least.get(n, 1) for n in sizes) / sum(sizes.values()) for least in (low, whole))
    if smallest >= LOW:
        smallest = max(LOW, otherwise)
    least = low if density < LOW else whole
    return _shared("uniform_plus", checked, density, math.prod, least=least, smallest=smallest)


def _shared(
    where: str,
    shapes: Shapes | nn.Module,
    density: float,
    share: Callable[[Sequence[int]], int],
    *,
    least: Mapping[str, int] | None = None,
    smallest: float | None = None,
) -> Allocation:
    """Weights kept in proportion to the share of each layer, between its least and all that it has."""
    checked = _checked(where, shapes)
    if isinstance(density, bool) or not isinstance(density, Real) or not 0.0 < density <= 1.0:
        raise invalid(f"{where}(density=)", "in (0, 1]", density, "To remove a fraction s, pass density=1-s.")
    totals = {name: math.prod(shape) for name, shape in checked.items()}
    floor, total = {name: (least or {}).get(name, 1) for name in totals}, sum(totals.values())
    kept, needed = round(density * total), sum(floor.values())
    if kept < needed:
        lowest = math.ceil((needed / total if smallest is None else smallest) * 1e6) / 1e6
        each = ", ".join([*(f"{count} of {name!r}" for name, count in (least or {}).items()), "1 of each other layer"])
        todo = f"The smallest feasible density is {lowest:.6f}."
        raise invalid(f"{where}(density=)", f"enough for {needed} of {total} weights ({each})", density, todo)
    shares = [share(shape) for shape in checked.values()]
    counts = apportion(kept, shares, least=[*floor.values()], most=[*totals.values()])
    return Allocation(dict(zip(totals, counts, strict=True)), totals)


def _checked(where: str, shapes: Shapes | nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes as tuples, those of a model looked up."""
    if isinstance(shapes, nn.Module):
        shapes = weight_shapes(shapes)
    todo = "Pass a model, or the shapes of its weights."
    if not isinstance(shapes, Mapping) or not shapes:
        raise invalid(f"{where}(shapes=)", "a mapping of names to shapes, at least one", shapes, todo)
    for name, shape in shapes.items():
        if isinstance(shape, Tensor) or len(shape) < 2 or any(size < 1 for size in shape):
            rule = "of two or more axes, none of them empty"
            raise invalid(f"{where}(shapes=): shape of {name!r}", rule, shape, todo)
    return {name: tuple(shape) for name, shape in shapes.items()}
