"""R = 1ᵀ f_|θ|(1): the flow through a network whose weights are all positive, of one input of ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowprune.core.errors import invalid
from flowprune.objectives.batch import arguments, inputs_of

if TYPE_CHECKING:
    from torch import Tensor


def synaptic_flow() -> SynapticFlow:
    """The objective of SynFlow; of a batch it uses the shape of one input alone.

    Formula: R(θ) = Σ outputs of the network at parameters |θ| and an input of ones, so θ·∂R/∂θ >= 0 in a network of
    non-negative operations (ReLU, pooling, sums), and its sum is conserved from layer to layer.
    Units: of the outputs; large in deep networks: score in float64 (``model.double()``).
    Source: Tanaka et al. (2020), arXiv 2006.05467.

    Raises:
        ValueError: from the objective, where it is not called with the module itself, or the input is no tensor.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.constant_(layer.weight, -3.0)
        >>> synaptic_flow()(layer, (torch.zeros(5, 2), None)).item()
        6.0
    """
    return SynapticFlow()


@dataclass(frozen=True)
class SynapticFlow:
    """R as an objective. It belongs to a network and not to examples, so it has no loss per example.

    Attributes:
        name: For messages and stored results.
    """

    name: str = "synaptic_flow"

    def __call__(self, forward: Any, batch: Any) -> Tensor:
        """R, a scalar tensor."""
        import torch
        from torch.func import functional_call

        args, named = arguments(inputs_of(batch))
        inputs = args[0] if len(args) == 1 and not named else None
        if not isinstance(forward, torch.nn.Module) or not isinstance(inputs, torch.Tensor):
            raise invalid("synaptic_flow()", "given a module and one input tensor", (type(forward), type(inputs)))
        positive = {name: param.abs() for name, param in forward.named_parameters()}
        return functional_call(forward, positive, (torch.ones_like(inputs[:1]),)).sum()
