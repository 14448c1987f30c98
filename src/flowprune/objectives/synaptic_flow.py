"""R = 1ᵀ f_|θ|(1): the flow through a network whose weights are all positive, of one input of ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from flowprune.core.errors import PruningError, invalid
from flowprune.core.names import is_bias
from flowprune.objectives.batch import arguments, inputs_of

if TYPE_CHECKING:
    from torch import Tensor, nn

ROUNDING = 1e-9
"""A sum of outputs below this part of their sizes has cancelled: what is left is rounding."""


def synaptic_flow(*, shifts: bool = False) -> SynapticFlow:
    """The objective of SynFlow; of a batch it uses the shape of one input alone.

    Formula: R(θ) = Σ outputs of the network at parameters |θ| and an input of ones, so θ·∂R/∂θ >= 0 in a network of
    non-negative operations (ReLU, pooling, sums), and its sum is conserved from layer to layer.
    Units: of the outputs. They grow or shrink with every layer, so ``gather`` takes them in float64 by itself,
    whatever the model's own type.

    Args:
        shifts: Whether biases (as |b|) and running means take part. By default they are zero, so that R is linear in
            its input and the flow is conserved also in a network that has them; the published code takes them as they
            are, and its networks have none.

    Source: Tanaka et al. (2020), arXiv 2006.05467.

    Raises:
        ValueError: from the objective, where it is not called with the module itself, or the input is not one tensor
            of floating point numbers: an input of ones means nothing of tokens.
        PruningError: from the objective, where no flow is left, it is too large for a number, or a normalisation that
            subtracts a mean over features takes it away.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = torch.nn.init.constant_(layer.weight, -3.0)
        >>> synaptic_flow()(layer, (torch.zeros(5, 2), None)).item()
        6.0
    """
    return SynapticFlow(shifts)


@dataclass(frozen=True)
class SynapticFlow:
    """R as an objective. It belongs to a network and not to examples, so it has no loss per example.

    Attributes:
        shifts: Whether biases and running means take part.
        prepared: Whether the networks it is given were made what it sees of them, by :meth:`prepare_`.
        name: For messages and stored results.
    """

    shifts: bool = False
    prepared: bool = False
    name: str = "synaptic_flow"
    precision: ClassVar[str] = "float64"
    one_batch: ClassVar[bool] = True

    def __call__(self, forward: Any, batch: Any) -> Tensor:
        """R, a scalar tensor."""
        import torch

        from flowprune.core.call_at import call_at

        args, named = arguments(inputs_of(batch))
        inputs = args[0] if len(args) == 1 and not named else None
        if not isinstance(forward, torch.nn.Module) or not isinstance(inputs, torch.Tensor):
            raise invalid("synaptic_flow()", "given a module and one input tensor", (type(forward), type(inputs)))
        if not inputs.is_floating_point():
            todo = "Take another measure for a model of tokens, or pass its embeddings."
            rule = "one tensor of floating point numbers, such as images"
            raise invalid("synaptic_flow(): the input", rule, inputs.dtype, todo)
        ones = torch.ones_like(inputs[:1], dtype=next(forward.parameters()).dtype)
        outputs = forward(ones) if self.prepared else call_at(forward, self._positive(forward), (ones,))
        flow = outputs.sum()
        value, parts = float(flow.detach()), float(outputs.detach().abs().sum())
        if not ROUNDING * parts < value < float("inf"):
            raise PruningError(
                f"synaptic_flow() must find a positive flow from the input to the output; it is {value:g} in "
                f"{flow.dtype}. {_cause(forward, value <= ROUNDING * parts)}"
            )
        return flow

    def prepare_(self, model: nn.Module) -> SynapticFlow:
        """Make a copy of a network the one that R is of, in place: |θ|, and no shifts; the objective of that copy."""
        import torch

        with torch.no_grad():
            for param in model.parameters():
                param.abs_()
            for name, tensor in (*model.named_parameters(), *model.named_buffers()):
                if not self.shifts and tensor.ndim == 1 and _added(name):
                    tensor.zero_()
        return replace(self, prepared=True)

    def _positive(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's tensors, weights as their absolute values; without shifts, those are zero."""
        import torch

        given = dict(model.named_parameters())
        params = {name: param.abs() for name, param in given.items() if not bool(param.detach().min() >= 0)}
        if self.shifts:
            return params
        tensors = {**given, **dict(model.named_buffers())}
        added = {name: t for name, t in tensors.items() if t.ndim == 1 and _added(name) and bool(t.any())}
        return {**params, **{name: torch.zeros_like(tensor) for name, tensor in added.items()}}


def _cause(model: nn.Module, cancelled: bool) -> str:
    """What may be the reason of a flow that is none, and what to do."""
    from torch.nn import GroupNorm, LayerNorm
    from torch.nn.modules.batchnorm import _NormBase

    for name, module in model.named_modules():
        own = isinstance(module, _NormBase) and (module.training or module.running_mean is None)  # of its input
        if cancelled and (own or isinstance(module, (LayerNorm, GroupNorm))):
            return (
                f"{name or 'The model'} ({type(module).__name__}) subtracts the mean of its input, which takes a "
                "positive flow away (if masks have left a path): take another measure, or a model with batch norms in "
                "eval mode or with RMSNorm."
            )
    return "Either no path is left, or the network is too deep for its weights: rescale them."


def _added(name: str) -> bool:
    """Whether a vector of this name is added: with it a network is not linear, and nothing is conserved."""
    return is_bias(name) or name.rpartition(".")[2] == "running_mean"
