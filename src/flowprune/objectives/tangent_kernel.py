"""How far the outputs move when the weights do: a proxy of the trace of the neural tangent kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from flowprune.core.errors import PruningError, invalid, unknown
from flowprune.objectives.batch import arguments, inputs_of

if TYPE_CHECKING:
    from torch import Size, Tensor, nn

    Draw = Literal["kaiming", "own"] | Callable[[str, Size], Tensor]


def tangent_kernel(*, epsilon: float = 0.01, draws: int = 1, weights: Draw = "kaiming") -> TangentKernel:
    r"""The objective of NTK-SAP; of a batch it uses the shape of the inputs alone, no label and no value.

    Formula: R(m) = mean over examples of ‖f(x; m ⊙ θ) - f(x; m ⊙ (θ + ε Δ))‖², with x and Δ standard normal: ε² times
    an estimate of the trace of the tangent kernel. θ enters by gates m that are one where a weight of the model is not
    zero, so that θ·∂R/∂θ is ∂R/∂m whatever the weights θ that R is taken at.

    Units: squared units of the outputs. For a linear network of one output E[m_i ∂R/∂m_i] = 2 ε² m_i.

    Randomness: PyTorch's global generator, which ``gather`` seeds by ``seed=`` and puts back.

    Assumes: normalisations are taken with the statistics of the drawn inputs, as one pass in train mode finds them.

    Args:
        epsilon: Size of the step in weights.
        draws: How often weights, inputs and steps are drawn for a batch; R is the mean.
        weights: θ: ``"kaiming"``, fresh normal weights of variance 2 / fan-in for each draw, with biases zero and
            norms one; ``"own"``, the model's; or a function of a parameter's name and shape.

    Source: Wang et al. (2023), arXiv 2304.02840. Their code sums over examples, leaves the model with other weights
    than it came with, and sets the momentum of batch norms; this one leaves all as found.

    Raises:
        ValueError: epsilon or draws out of range, unknown weights; from the objective, where it is not called with the
            module itself, or the input is not one tensor of floating point numbers.
        PruningError: from the objective, where a weight that nothing masks is zero, or below the smallest normal
            number, so that it has no gate.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(3, 1, bias=False)
        >>> value = tangent_kernel(epsilon=0.1)(layer, (torch.zeros(4000, 3), None))
        >>> bool(value > 0)
        True
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise invalid("tangent_kernel(epsilon=)", "above 0", epsilon)
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise invalid("tangent_kernel(draws=)", "a whole number >= 1", draws)
    if not callable(weights) and weights not in ("kaiming", "own"):
        raise unknown("tangent_kernel(weights=)", weights, ("kaiming", "own"))
    return TangentKernel(epsilon, draws, weights)


@dataclass(frozen=True)
class TangentKernel:
    """See :func:`tangent_kernel`. It belongs to a network and not to examples, so it has no loss per example.

    Attributes:
        epsilon: Size of the step.
        draws: Of weights for each batch.
        weights: What is drawn.
        name: For messages and stored results.
    """

    epsilon: float = 0.01
    draws: int = 1
    weights: Draw = "kaiming"
    name: str = "tangent_kernel"

    def __call__(self, forward: Any, batch: Any) -> Tensor:
        """R, a scalar tensor."""
        import torch

        args, named = arguments(inputs_of(batch))
        shape = args[0] if len(args) == 1 and not named else None
        if not isinstance(forward, torch.nn.Module):
            raise invalid("tangent_kernel()", "given the module itself", type(forward))
        if not isinstance(shape, torch.Tensor) or not shape.is_floating_point():
            got = shape.dtype if isinstance(shape, torch.Tensor) else type(shape)
            raise invalid("tangent_kernel(): the input", "one tensor of floating point numbers, such as images", got)
        gates = _gates(forward)
        found = [self._once(forward, gates, torch.randn_like(shape)) for _ in range(self.draws)]
        return torch.stack(found).mean()

    def _once(self, model: nn.Module, gates: Mapping[str, Tensor], x: Tensor) -> Tensor:
        import torch

        from flowprune.core.call_at import call_at

        drawn = {name: self._drawn(name, param) for name, param in model.named_parameters()}
        moved = {
            name: value + self.epsilon * torch.randn_like(value) if name in gates else value
            for name, value in drawn.items()
        }
        first, second = ({n: gates[n] * v if n in gates else v for n, v in each.items()} for each in (drawn, moved))
        statistics = _statistics(model, first, x)
        outputs = call_at(model, {**first, **statistics}, (x,))
        apart = outputs - call_at(model, {**second, **statistics}, (x,))
        return apart.flatten(1).square().sum(1).mean()

    def _drawn(self, name: str, param: Tensor) -> Tensor:
        import torch

        own = param.detach()
        if self.weights == "own":
            return own
        if callable(self.weights):
            return self.weights(name, own.shape).to(own)
        if own.ndim >= 2:
            return torch.randn_like(own) * math.sqrt(2 / own[0].numel())
        return torch.zeros_like(own) if name.rpartition(".")[2] == "bias" else torch.ones_like(own)


def _gates(model: nn.Module) -> dict[str, Tensor]:
    """For each weight of two or more axes one, or zero where it is masked, whose derivative times θ is that by m."""
    import torch

    from flowprune.core.held import masks_on

    params = {name: param for name, param in model.named_parameters() if param.ndim >= 2 and param.requires_grad}
    masks = masks_on(params)
    gates: dict[str, Tensor] = {}
    for name, param in params.items():
        own = param.detach()
        zero = own.abs() < torch.finfo(own.dtype).tiny  # of what is smaller, 1 / θ may be infinite
        lost = zero & masks[name] if name in masks else zero
        if bool(lost.any()):
            raise PruningError(
                f"tangent_kernel() must find no weight at zero that nothing masks; {int(lost.sum())} of {name!r} are. "
                f"Initialise the model anew, or freeze that parameter and leave it out: fp.Weights(skip=({name!r},))."
            )
        inverse = torch.where(zero, zero.to(own.dtype), own).reciprocal_().masked_fill_(zero, 0)
        gates[name] = param * inverse  # one to rounding
        gates[name] = gates[name] + (1 - gates[name].detach()).masked_fill(zero, 0)
    return gates


def _statistics(model: nn.Module, params: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """The buffers of norms after one pass of these inputs in train mode, as if nothing had been seen before."""
    import torch
    from torch import nn

    from flowprune.core.call_at import call_at

    norms = {
        f"{path}." if path else "": module
        for path, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    }
    if not norms:
        return {}
    fresh: dict[str, Tensor] = {}
    for prefix, norm in norms.items():
        fresh |= {f"{prefix}{name}": torch.zeros_like(buffer) for name, buffer in norm.named_buffers()}
    with torch.no_grad(), _training(norms.values()):
        call_at(model, {**{n: p.detach() for n, p in params.items()}, **fresh}, (x,))
    return fresh


@contextmanager
def _training(norms: Any) -> Generator[None]:
    """Within the block these norms train, and their statistics are those of the batch; after it they are as before."""
    found = [(norm, norm.training, norm.momentum) for norm in norms]
    try:
        for norm, _, _ in found:
            norm.training, norm.momentum = True, 1.0
        yield
    finally:
        for norm, mode, momentum in found:
            norm.training, norm.momentum = mode, momentum
