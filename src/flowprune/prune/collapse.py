"""Layer collapse, told before any training is paid for: what of a masked network does anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowprune.core.arguments import require_masks, require_model
from flowprune.core.errors import invalid
from flowprune.core.fingerprint import fingerprint
from flowprune.core.groups import Groups, channelwise, units_of
from flowprune.masks import Critical, expand
from flowprune.prune.collapse_words import table, warnings_of
from flowprune.prune.conservation import layer_residuals
from flowprune.signals.paths import effective_weights
from flowprune.structure.example import Example


@dataclass(frozen=True)
class LayerCollapse:
    """What is left of a layer.

    Attributes:
        name: Of its weight.
        kept: Weights that the masks keep (units, where the network was made smaller).
        total: Of how many.
        effective: Kept weights on a path from the input to the output; None where nothing was run.
        dead_inputs: Inputs of the layer that no such weight reads.
        dead_outputs: Outputs of the layer that no such weight makes.
        inputs: All inputs: features or channels.
        outputs: All outputs.

    Example:
        >>> layer = LayerCollapse("w", 5, 10, 4, 0, 1, 2, 5)
        >>> layer.density, layer.effective_density
        (0.5, 0.4)
    """

    name: str
    kept: int
    total: int
    effective: int | None = None
    dead_inputs: int | None = None
    dead_outputs: int | None = None
    inputs: int | None = None
    outputs: int | None = None

    @property
    def density(self) -> float:
        """Fraction kept."""
        return self.kept / self.total

    @property
    def effective_density(self) -> float | None:
        """Fraction on a path."""
        return None if self.effective is None else self.effective / self.total


@dataclass(frozen=True)
class Collapse:
    """What is left of a network; printed, a table and what to look at.

    Attributes:
        layers: Of masked weights, in the order of the model.
        sparsity: Fraction removed, of all weights of these layers.
        effective_sparsity: Fraction removed or on no path; None where nothing was run.
        compression: All weights of these layers / those kept; infinite where none is.
        largest_safe: The largest sparsity that empties no layer, as it was passed in.
        conservation: How far each layer's total of θ·g is from the others'; see
            :func:`~flowprune.prune.conservation.layer_residuals`. None without contributions.
        warnings: What to look at before training, one sentence or two each.
        unit: What is counted: ``"weights"``, or units of channels, where the network was made smaller.

    Example:
        >>> layers = (LayerCollapse("a", 2, 4), LayerCollapse("b", 1, 2))
        >>> print(Collapse(layers, 0.5, None, 2.0, None, None, ()))
        density 0.5, sparsity 0.5, compression 2x: 3 of 6 weights in 2 layers
        layer  kept  of  density
        a         2   4      0.5
        b         1   2      0.5
    """

    layers: tuple[LayerCollapse, ...]
    sparsity: float
    effective_sparsity: float | None
    compression: float
    largest_safe: Critical | None
    conservation: Mapping[str, float] | None
    warnings: tuple[str, ...]
    unit: str = "weights"

    @property
    def density(self) -> float:
        """Fraction kept."""
        return 1.0 - self.sparsity

    def __str__(self) -> str:
        return "\n".join((*table(self), *(f"warning: {said}" for said in self.warnings)))


def collapse(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    *,
    example_inputs: object,
    contributions: Mapping[str, Tensor] | None = None,
    critical: Critical | None = None,
) -> Collapse:
    """Diagnose a masked network before it is trained: kept weights, weights that do anything, dead units, warnings.

    It costs one forward and one backward pass of one example; see :func:`~flowprune.signals.paths.effective_weights`.

    Args:
        model: The network that the masks were made for, masked or not; or what :func:`flowprune.remove` made of it,
            of which only kept units are told.
        masks: As :func:`flowprune.apply` takes them, of any granularity.
        example_inputs: What the model is called with. None runs nothing and tells kept weights alone.
        contributions: Signed θ·g by weight of a chain of layers, for the residuals of conservation.
        critical: The largest safe sparsity for this model and measure, with the layer that dies first.

    Raises:
        ValueError: masks that do not fit the model, or inputs that hold no tensor.
        PruningError: the model does not run on the inputs.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> masks = {"0.weight": torch.tensor([[True, True], [False, False]]), "2.weight": torch.tensor([[True, True]])}
        >>> found = collapse(net, masks, example_inputs=torch.ones(1, 2))
        >>> found.sparsity == 2 / 6, found.effective_sparsity, found.layers[1].dead_inputs
        (True, 0.5, 1)
    """
    require_model("collapse", model)
    require_masks("collapse", masks)
    layout: Groups = getattr(masks, "layout", None) or {}
    params = dict(model.named_parameters())
    made_for = getattr(masks, "fingerprint", None)
    if channelwise(layout) and made_for not in (None, fingerprint(params)):
        layers, unit = tuple(_counted(name, mask) for name, mask in masks.items()), units_of(layout)
    else:
        layers, unit = tuple(_layers(model, params, expand(params, masks), example_inputs)), "weights"
    kept, total = sum(layer.kept for layer in layers), sum(layer.total for layer in layers)
    if not total:
        todo = "Masks of biases or of scales alone say nothing of paths."
        raise invalid("collapse(masks=)", "of one weight or more", sorted(masks), todo)
    effective = [layer.effective for layer in layers if layer.effective is not None]
    units, units_kept = (sum(count(mask) for mask in masks.values()) for count in (torch.numel, _kept))
    return Collapse(
        layers=layers,
        sparsity=(total - kept) / total,
        effective_sparsity=(total - sum(effective)) / total if effective else None,
        compression=total / kept if kept else float("inf"),
        largest_safe=critical,
        conservation=None if contributions is None else layer_residuals(contributions),
        warnings=warnings_of(layers, (units - units_kept) / units, critical, whole_units=channelwise(layout)),
        unit=unit,
    )


def _kept(mask: Tensor) -> int:
    return int(torch.count_nonzero(mask))


def _counted(name: str, mask: Tensor) -> LayerCollapse:
    return LayerCollapse(name, _kept(mask), mask.numel())


def _layers(
    model: nn.Module, params: Mapping[str, Tensor], expanded: Mapping[str, Tensor], example_inputs: object
) -> list[LayerCollapse]:
    """Counts of the masked weights, in the order of the model."""
    whole = {n: expanded[n].to(p.device).expand(p.shape) for n, p in params.items() if n in expanded}
    weights = {name: mask for name, mask in whole.items() if mask.dim() > 1}
    if example_inputs is None:
        return [_counted(name, mask) for name, mask in weights.items()]
    found = effective_weights(model, whole, Example.of(example_inputs, "collapse"))
    return [_layer(model, name, mask, found[name]) for name, mask in weights.items() if name in found]


def _layer(model: nn.Module, name: str, mask: Tensor, effective: Tensor) -> LayerCollapse:
    into, out = _alive(model.get_submodule(name.rpartition(".")[0]), effective)
    return LayerCollapse(
        name=name,
        kept=_kept(mask),
        total=mask.numel(),
        effective=_kept(effective),
        dead_inputs=_kept(~into),
        dead_outputs=_kept(~out),
        inputs=into.numel(),
        outputs=out.numel(),
    )


def _alive(module: nn.Module, effective: Tensor) -> tuple[Tensor, Tensor]:
    """Which inputs of a layer an effective weight reads, and which outputs one makes."""
    pairs = effective.flatten(2).any(2) if effective.dim() > 2 else effective
    groups = module.groups if isinstance(module, nn.modules.conv._ConvNd) else 1
    grouped = pairs.view(groups, -1, pairs.shape[1]).any(1).flatten()  # the second axis counts within a group
    inputs_first = isinstance(module, (nn.modules.conv._ConvTransposeNd, nn.Embedding, nn.EmbeddingBag))
    if inputs_first or type(module).__name__ == "Conv1D":  # the linear layer of GPT-2
        return pairs.any(1), grouped
    return grouped, pairs.any(1)
