"""How much memory an example takes, seen on one before anything is begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flowprune.signals.batches import Counted, part
from flowprune.signals.per_example import Called


@dataclass(frozen=True)
class Footprint:
    """Of one example, in bytes.

    Attributes:
        graph: What autograd keeps of its forward for the backward pass, parameters apart; see :func:`graph_bytes`.
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
    sizes: list[int] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            sizes.append(bytes_of(output))

    owners = {name.rpartition(".")[0] for name in params}
    handles = [model.get_submodule(path).register_forward_hook(note) for path in owners]
    try:
        graph = _graph(model, lambda: loss(called, part(batch, 0, 1)))
    finally:
        for handle in handles:
            handle.remove()
    return Footprint(
        graph=graph,
        layers=sum(sizes),
        largest=max(sizes, default=0),
        outputs=called.outputs.detach(),
        parameters=sum(map(bytes_of, params.values())),
    )


def graph_bytes(model: nn.Module, loss: Callable[[Callable[..., Any], Any], Tensor], batch: Counted) -> int:
    """What autograd keeps of an example's forward, in bytes; all that is computed, where that is more.

    What is computed anew in the backward pass (``torch.utils.checkpoint``) is not kept, but is there all the same when
    it is needed.

    Example:
        >>> graph_bytes(nn.Sequential(nn.Linear(4, 2), nn.Tanh()), lambda forward, x: forward(x).mean(), \
                        Counted(0, torch.ones(3, 4), 3))
        24
    """
    return _graph(model, lambda: loss(model, part(batch, 0, 2))) // min(2, batch.size)


def _graph(model: nn.Module, run: Callable[[], Tensor]) -> int:
    """Bytes of what a run keeps, parameters apart, or of all that it computes, whichever is more."""
    own = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.device.type != "meta" and tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = max(kept.get(tensor.data_ptr(), 0), bytes_of(tensor))
        # Itself would close a circle, through the operation that keeps its own result, which nothing frees.
        return tensor.detach()

    with Computed() as computed, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = run()
    del value  # until here, so that no two of what is kept lie in one place
    return max(sum(kept.values()), computed.bytes)


class Computed(TorchDispatchMode):
    """Within it, how many bytes operations return that are no views of what they were given.

    Example:
        >>> with Computed() as computed:
        ...     _ = torch.ones(4).view(2, 2) + 1
        >>> computed.bytes
        32
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation."""
        given = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        new = (tensor for tensor in _tensors(result) if tensor.untyped_storage().data_ptr() not in given)
        self.bytes += sum(map(bytes_of, new))
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def bytes_of(tensor: Tensor) -> int:
    """What its elements take.

    Example:
        >>> bytes_of(torch.ones(3))
        12
    """
    return tensor.numel() * tensor.element_size()
