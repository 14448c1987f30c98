"""Where each layer of a given model stands: in order, in chaos, or at the edge between them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import torch
from torch import Tensor, nn

from flowprune.analysis.mean_field.activations import activation_in
from flowprune.analysis.mean_field.maps import chi
from flowprune.core.arguments import require_masks, require_model
from flowprune.core.errors import PruningError, invalid, unknown
from flowprune.core.held import masks_on
from flowprune.core.tensors import wide
from flowprune.masks.rescale import NORMS
from flowprune.models.edge_of_chaos import Activation, activation_of
from flowprune.models.gaussian import expectation
from flowprune.models.initializers import LAYERS
from flowprune.signals.activations import recorded
from flowprune.signals.as_found import as_found
from flowprune.structure.example import Example

Phase = Literal["ordered", "edge of chaos", "chaotic"]
NEAR: Final = 0.05
"""A mean log chi below this, up or down, is the edge of chaos: it takes 20 layers or more to change by a factor e."""


@dataclass(frozen=True)
class LayerChi:
    """One layer's own map, from the activation before it to what it gives.

    Attributes:
        name: The module's.
        sigma_w: Of the weights: their variance is sigma_w² / fan-in, masked ones counted as zeros.
        sigma_b: Of the biases.
        variance: Of what it gives, by mean field.
        measured: The mean square of what it gave on the example inputs; None without them.
        chi: The slope of the correlation map; None for the first layer, before which there is no activation.
    """

    name: str
    sigma_w: float
    sigma_b: float
    variance: float
    measured: float | None
    chi: float | None


@dataclass(frozen=True)
class LayersChi:
    """The layers of a model in forward order, and what they come to.

    Attributes:
        layers: One for each linear or convolutional layer.
    """

    layers: tuple[LayerChi, ...]

    @property
    def mean_log(self) -> float:
        """The mean of log chi over all layers but the first; -inf where a layer has no weight left."""
        found = [layer.chi for layer in self.layers if layer.chi is not None]
        return sum(math.log(each) if each else -math.inf for each in found) / len(found)

    @property
    def product(self) -> float:
        """By what factor the mean square of gradients changes from the last layer back to the first."""
        return math.prod(layer.chi for layer in self.layers if layer.chi is not None)

    @property
    def reach(self) -> float:
        """Layers over which signals and gradients change by a factor e: 1 / |mean log chi|."""
        return 1 / abs(self.mean_log) if self.mean_log else math.inf

    @property
    def phase(self) -> Phase:
        """Ordered below chi = 1, where gradients vanish; chaotic above, where they explode; to within :data:`NEAR`."""
        if abs(self.mean_log) < NEAR:
            return "edge of chaos"
        return "ordered" if self.mean_log < 0 else "chaotic"


def layer_chi(
    model: nn.Module,
    activation: str | Activation | None = None,
    *,
    example_inputs: Any = None,
    variance: float | None = None,
    masks: Mapping[str, Tensor] | None = None,
) -> LayersChi:
    """The slope of the correlation map in each layer of a model as it is, pruned or not.

    Formula: for each linear or convolutional layer l, sigma_w² = fan-in · mean(mask ⊙ W²) over all entries, sigma_b² =
    mean(b²), q_l = sigma_b² + sigma_w² E[φ(√q_{l-1} Z)²] and chi_l = sigma_w² E[φ'(√q_{l-1} Z)²]; q_1 is given or
    measured.

    Units: none; chi is a factor per layer. Shapes: one record for each layer.

    Assumes: layers follow one another with the one activation between each two, and weights are as if drawn at random.
    Those that sensitivities keep are not: they lie where signals are, and behind a relu they pass on far more than
    mean field says, which ``measured`` shows. Padding of a convolution is passed over, and so is pooling. Behind a
    normalization the scale of weights means nothing. In a residual network chi is still that of each layer's own map,
    but the product is not the network's: skips go around.

    Args:
        model: Is left as it was found, and is run in eval mode.
        activation: A name, or a function of a tensor, entry by entry; by default that of the model's modules.
        example_inputs: What the model is called with: says the order of layers, and q_1 where it is not given.
        variance: q_1, of what the first layer gives; without example inputs layers are in the order they were made in.
        masks: Boolean, True = kept, by parameter name; besides those that hold on the model, which count by themselves.

    Raises:
        ValueError: no model or fewer than two such layers, neither example inputs nor a variance, a variance not above
            0, masks of unknown parameters or other shapes, or an activation that has to be named.
        UnknownNameError: no such activation.
        PruningError: the model does not run on the example inputs, its first layer gives zeros alone, or a layer has
            weights or a variance that are not finite.

    Warns: where the model normalises.

    Source: B. Poole et al., 2016, arXiv:1606.05340; S. Hayou et al., 2021, arXiv:2002.08797.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 4, bias=False), nn.ReLU(), nn.Linear(4, 1, bias=False))
        >>> _ = model[2].weight.data.copy_(torch.tensor([[1.0, -1.0, 1.0, 0.0]]))
        >>> found = layer_chi(model, variance=2.0)
        >>> found.layers[1].chi, round(found.layers[1].variance, 9)  # sigma_w² = 4 · 3/4; a relu passes half, 1.5 · 2
        (1.5, 3.0)
        >>> found.phase
        'chaotic'
    """
    require_model("layer_chi", model)
    phi = activation_in("layer_chi", model) if activation is None else activation_of("layer_chi", activation)
    _check(model, example_inputs, variance, masks)
    measured = {} if example_inputs is None else _measured(model, example_inputs)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LAYERS)}
    order = list(measured) or list(layers)
    if len(order) < 2:
        raise invalid("layer_chi(model=)", "one with two linear or convolutional layers or more", order)
    if any(isinstance(module, NORMS) for module in model.modules()):
        warnings.warn(
            "layer_chi(model=) has normalization layers: behind them the scale of weights means nothing, and chi is "
            "void. It is meant for networks without.",
            stacklevel=2,
        )
    q = measured[order[0]] if variance is None else float(variance)
    if not (math.isfinite(q) and q > 0):
        raise PruningError(
            f"layer_chi(example_inputs=) must be inputs on which the first layer gives a finite variance above 0; "
            f"{order[0]!r} gives {q:g}. Pass other inputs, or variance=."
        )
    kept = _kept(model, masks or {})
    found: list[LayerChi] = []
    for name in order:
        sigma_w, sigma_b = _sigmas(layers[name], kept)
        after = sigma_b * sigma_b + sigma_w * sigma_w * expectation(lambda x: phi(x).square(), q) if found else q
        if not (math.isfinite(after) and math.isfinite(sigma_w)):
            raise PruningError(
                f"layer_chi(model=) must be one of finite weights and variances; {name!r} has sigma_w = {sigma_w:g} "
                f"and the variance {after:g}. Look at its weights, or initialise nearer to the edge of chaos."
            )
        slope, q = chi(phi, sigma_w, q) if found else None, after
        found.append(LayerChi(name, sigma_w, sigma_b, q, measured.get(name), slope))
    return LayersChi(tuple(found))


def _check(model: nn.Module, example_inputs: Any, variance: float | None, masks: Mapping[str, Tensor] | None) -> None:
    if example_inputs is None and variance is None:
        todo = "Pass variance=1.0 for a look without data."
        raise invalid("layer_chi(example_inputs=)", "given where variance is not", None, todo)
    if variance is not None and not (math.isfinite(variance) and variance > 0):
        raise invalid("layer_chi(variance=)", "a variance above 0", variance)
    if masks is None:
        return
    require_masks("layer_chi", masks)
    params = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in params:
            raise unknown("layer_chi(masks=): the model", name, params)
        if mask.shape != params[name].shape:
            todo = "Pass masks of fp.Weights(), or fp.expand them first."
            rule = f"of single weights, {tuple(params[name].shape)}"
            raise invalid(f"layer_chi(masks=): mask of {name!r}", rule, tuple(mask.shape), todo)


def _measured(model: nn.Module, example_inputs: Any) -> dict[str, float]:
    """The mean squares of what the layers give on example inputs, in the order they are called in."""
    example = Example.of(example_inputs, "layer_chi")
    names = {n for n, m in model.named_modules() if isinstance(m, LAYERS)}
    with as_found(model, "eval"), torch.no_grad(), recorded(model) as moments:
        example.call(model, "layer_chi")
        found = moments() or {}
    return {name: float(each.mean_square.double().mean()) for name, each in found.items() if name in names}


def _kept(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """What stays of each parameter, by its identity: of the masks that hold, and of those given."""
    params = dict(model.named_parameters())
    kept = masks_on(params)
    for name, mask in masks.items():
        given = mask.to(params[name].device)
        kept[name] = given & kept[name] if name in kept else given
    return {id(params[name]): mask for name, mask in kept.items()}


@torch.no_grad()
def _sigmas(module: nn.Module, kept: Mapping[int, Tensor]) -> tuple[float, float]:
    """sigma_w and sigma_b of a layer as it is."""
    weight, bias = cast("Tensor", module.weight), module.bias

    def mean_square(param: Tensor) -> float:
        squares, mask = wide(param).square(), kept.get(id(param))
        return float((squares if mask is None else squares * mask.to(squares.device)).mean())

    sigma_w = math.sqrt(weight[0].numel() * mean_square(weight))
    return sigma_w, math.sqrt(mean_square(bias)) if isinstance(bias, Tensor) else 0.0
