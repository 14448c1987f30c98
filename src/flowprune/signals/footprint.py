"""How much memory an example takes, seen on one before anything is begun."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    called = Called(model)
    with watching(model, {name.rpartition(".")[0] for name in params}) as seen:
        loss(called, part(batch, 0, 1))
    return Footprint(
        graph=seen.graph,
        layers=sum(seen.outputs),
        largest=max(seen.outputs, default=0),
        outputs=called.outputs.detach(),
        parameters=sum(parameter.numel() * parameter.element_size() for parameter in params.values()),
    )


def graph_bytes(model: nn.Module, loss: Callable[[Callable[..., Any], Any], Tensor], batch: Counted) -> int:
    """What autograd keeps of an example's forward, in bytes; as much as its modules return where it is recomputed.

    Example:
        >>> graph_bytes(nn.Sequential(nn.Linear(4, 2), nn.Tanh()), lambda forward, x: forward(x).mean(), \
                        Counted(0, torch.ones(3, 4), 3))
        24
    """
    leaves = {path for path, module in model.named_modules() if not any(module.children())}
    with watching(model, leaves) as seen:
        value = loss(model, part(batch, 0, 2))
    del value  # until here, so that no two of the tensors lie in one place
    return max(seen.graph, sum(seen.outputs)) // min(2, batch.size)


@dataclass
class Watched:
    """What was seen of forwards, in bytes.

    Attributes:
        kept: By address, what autograd keeps for the backward pass, parameters apart.
        outputs: Of each call of a module that is watched.
    """

    kept: dict[int, int] = field(default_factory=dict[int, int])
    outputs: list[int] = field(default_factory=list[int])

    @property
    def graph(self) -> int:
        """All that is kept."""
        return sum(self.kept.values())


@contextmanager
def watching(model: nn.Module, paths: Iterable[str]) -> Generator[Watched]:
    """Within the block, what forwards of these modules return, and what autograd keeps of all."""
    own = {parameter.data_ptr() for parameter in model.parameters()}
    seen = Watched()

    def keep(tensor: Tensor) -> Tensor:
        if tensor.device.type != "meta" and tensor.data_ptr() not in own:
            seen.kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            seen.outputs.append(output.numel() * output.element_size())

    handles = [model.get_submodule(path).register_forward_hook(note) for path in paths]
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            yield seen
    finally:
        for handle in handles:
            handle.remove()
