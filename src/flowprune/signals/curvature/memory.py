"""How much memory an example takes, seen on one before anything is begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.signals.batches import Counted, part
from flowprune.signals.curvature.asked import Curvature, in_words
from flowprune.signals.per_example import Called
from flowprune.signals.per_example.convolved import UNFOLDED_BYTES
from flowprune.signals.per_example.outer import GROUP_BYTES

CHEAPER = {"ggn": ("fisher_mc", "hutchinson", "empirical"), "fisher_mc": ("empirical",), "hutchinson": ("empirical",)}


@dataclass(frozen=True)
class Footprint:
    """Of one example, in bytes.

    Attributes:
        graph: What autograd keeps of its forward for the backward pass, parameters apart.
        layers: Outputs of the layers that own the parameters.
        largest: The largest of these.
        outputs: The model's outputs.
        count: How many outputs there are.
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


def examples_within(asked: Curvature, each: int, fixed: int, *, most: int, what: str) -> int:
    """How many examples fit at a time.

    Args:
        asked: With the memory given.
        each: Bytes for each example.
        fixed: Bytes however many there are.
        most: Not more than these.
        what: What takes it, for the error.

    Raises:
        ValueError: not even one does; the memory that it would take, and what is cheaper.

    Example:
        >>> examples_within(Curvature(memory=1000), 300, 100, most=64, what="10 outputs")
        3
    """
    fit = (asked.bytes - fixed) // max(each, 1)
    if fit < 1:
        others = [f"{kind!r}" for kind in CHEAPER.get(asked.kind, ())]
        cheaper = f", or ask for a cheaper estimator: curvature={' or '.join(others)}" if others else ""
        rule = f"at least {in_words(each + fixed)}, which one example takes with {what}"
        todo = f"Pass fp.Curvature({asked.kind!r}, memory=...){cheaper}."
        raise invalid(f"gather(curvature={asked.kind!r}) memory", rule, in_words(asked.bytes), todo)
    return min(int(fit), most)


def working_space(params: Mapping[str, nn.Parameter]) -> int:
    """Bytes that the squares of one layer take, beside the sums: patches of inputs, and twice the largest weight."""
    largest = max(parameter.numel() * parameter.element_size() for parameter in params.values())
    on_cpu = all(parameter.device.type == "cpu" for parameter in params.values())
    return UNFOLDED_BYTES + 2 * largest + (0 if on_cpu else 2 * GROUP_BYTES)
