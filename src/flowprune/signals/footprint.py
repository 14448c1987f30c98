"""How much memory an example takes, seen on one before anything is begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.signals.batches import Counted, part
from flowprune.signals.per_example import Called


@dataclass(frozen=True)
class Footprint:
    """Of one example, in bytes.

    Attributes:
        graph: What autograd keeps of its forward for the backward pass, parameters apart.
        layers: Outputs of the layers that own the parameters.
        largest: The largest of these.
        outputs: The model's outputs.
        parameters: All that is differentiated.
    """

    graph: int
    layers: int
    largest: int
    outputs: Tensor
    parameters: int

    def for_vectors(self, vectors: int) -> int:
        """Bytes that an example takes while that many vectors are pulled back and kept for each layer."""
        kept = vectors * (self.layers + 2 * self.largest)
        return 2 * self.graph + kept + 4 * self.largest + 2 * vectors * self.outputs.numel() * 4


def footprint(
    model: nn.Module,
    loss: Callable[[Callable[..., Any], Any], Tensor],
    params: Mapping[str, nn.Parameter],
    batch: Counted,
) -> Footprint:
    """Run one example, and look at what is kept.

    Example:
        >>> layer = nn.Linear(4, 2)
        >>> one = Counted(0, torch.ones(1, 4), 1)
        >>> found = footprint(layer, lambda forward, x: forward(x).sum(1), dict(layer.named_parameters()), one)
        >>> found.layers, found.parameters
        (8, 40)
    """
    own = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    sizes: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        if tensor.device.type != "meta" and tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel() * output.element_size())

    owners = {name.rpartition(".")[0] for name in params}
    handles = [model.get_submodule(path).register_forward_hook(note) for path in owners]
    called = Called(model)
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss(called, part(batch, 0, 1))
    finally:
        for handle in handles:
            handle.remove()
    return Footprint(
        graph=sum(kept.values()),
        layers=sum(sizes),
        largest=max(sizes, default=0),
        outputs=called.outputs.detach(),
        parameters=sum(parameter.numel() * parameter.element_size() for parameter in params.values()),
    )
