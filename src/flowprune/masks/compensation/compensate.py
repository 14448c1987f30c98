"""The weights that stay make up for those that are cut."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from flowprune.core.arguments import require_masks, require_model
from flowprune.core.errors import invalid, renamed
from flowprune.core.tensors import require_finite
from flowprune.masks.apply import apply
from flowprune.masks.compensation.layers import Solvable, masks_of_entries, solvable
from flowprune.masks.compensation.record import Compensation, OutputError
from flowprune.masks.compensation.solution import Problem, SingularError, errors, penalty_of, singular, solved
from flowprune.masks.expand import refuse_unsound
from flowprune.signals.batches import require_batches
from flowprune.signals.layer_inputs import InputMoments, calls, input_moments, moments_after

DAMPING: Final = 0.01
"""As a fraction of the mean square of an input: 1 %, as in the code of SparseGPT and GPTQ."""
NOT_REACHED: Final = "the batches do not reach it"


def compensate(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    batches: Iterable[Any],
    *,
    damping: float = DAMPING,
    sequential: bool = True,
) -> Compensation:
    """Apply masks, and change the weights that stay so that layers give what they gave before, in place.

    In place of :func:`flowprune.apply`: masked weights are zero and stay zero from here on, and the others of linear
    layers and convolutions (any stride, padding, dilation and groups) solve, for each output by itself,

        min over ŵ, zero where masked, of E(w·x − ŵ·x̂)² + λ ‖ŵ − w‖²,   λ = damping · mean(diag A),   A = E[x̂ x̂ᵀ],

    the mean over output positions of all examples, with x what the layer reads in the model as it came, x̂ what it
    reads in the model that results, both with padding, and a one at their end where there is a bias, which is thus
    solved for too, and not damped. With K what is kept and r = E[x̂ (w·x)] − A (m ⊙ w), m the mask:

        ŵ_K = w_K + (A_KK + λI)⁻¹ r_K.

    ``sequential=False`` takes x̂ = x in every layer: A = H = E[x xᵀ], r = H_:P w_P of the P that are cut, and
    ŵ_K = w_K + (H_KK + λI)⁻¹ H_KP w_P. For one cut weight q this is the optimal brain surgeon of the layer,
    δ = −w_q H⁻¹_:q / [H⁻¹]_qq; for a whole mask it is the optimum, that OBC reaches by cutting weight after weight,
    each time with this step, and SparseGPT approximates: it lets a weight make up for those of earlier columns alone.
    (SparseGPT also takes targets w·x̂, of the inputs that are left; here they are those of the model as it came.)

    Sequential: layers in the order in which the first batch calls them, each with what the compensated ones before it
    give. So it makes up as well for what those miss; and besides the layers that are cut, those behind the first of
    them are changed, whole ones included. Not sequential: only those that are cut.

    Masks of channels: the layer that reads a channel makes up for it, with the others that it reads (ThiNet's
    reconstruction). Its weights for a cut channel, of which no input is left, keep their values; ``fp.remove`` takes
    them out.

    Shapes: of x, D = inputs / groups · kernel, and one for the bias.
    Units: those of the weights; errors are fractions of the mean square of a layer's outputs.
    Assumes: eval mode. Batch norms keep their statistics: :func:`flowprune.recalibrate` renews them.

    Cost: in sequence two passes up to each layer over all batches; else one pass. For each position 2 D² operations in
    float64, and for each row with a mask of its own min(|K|, |P|)³ / 3, once D³ for the latter. Memory: patches of
    64 MiB or one example, and 8 D² bytes some five times for one layer; not in sequence 8 D² of all layers besides.
    On one CPU core, a layer of 512 outputs and D = 4608 takes 1.4 s at 95.6 % sparsity, 28 s at 10 % and 146 s at 50 %,
    the worst; and VGG-11 at 95.6 % of each layer, with 1000 images of 32 x 32, 86 s in sequence and 49 s otherwise.

    Args:
        model: Before the masks are applied: their weights must still be there. Masks that hold already go on to. It is
            run in eval mode, and left as found but for its weights and masks.
        masks: As for ``fp.apply``.
        batches: As for ``fp.gather``; targets are not looked at, and a batch may be the bare inputs. An iterator is
            kept in a list where it is read several times. A row should have fewer weights than there are positions.
        damping: Not negative. 0.01, as SparseGPT has it: enough that directions which no batch showed do not move, and
            that few examples do not overfit, and too little to be seen in the rest. 0 solves without, where it can.
        sequential: Whether layers read what is left of those before, or what they read before anything was cut.

    Returns:
        What each layer misses with the masks alone and with compensated weights; the step δ of the whole model, for
        :func:`flowprune.analysis.predicted_step_change`; and which masked weights were left as they were, and why:
        frozen, shared by modules, of other layers, called several times (in sequence) or never.

    Raises:
        ValueError: masks of another model; masks whose weights are zero already, so that there is nothing to make up
            for; no layer that can be compensated; no batches; inputs that are not finite; a negative damping; or
            damping=0 where inputs are linearly dependent. The model is unchanged then.

    Source: B. Hassibi and D. Stork, "Second order derivatives for network pruning: optimal brain surgeon", 1993;
    E. Frantar and D. Alistarh, "Optimal Brain Compression", 2022, arXiv:2208.11580; E. Frantar and D. Alistarh,
    "SparseGPT", 2023, arXiv:2301.00774; of channels J.-H. Luo et al., "ThiNet", 2017, arXiv:1707.06342.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> inputs = torch.tensor([[1.0, 0.5], [1.0, 1.5], [2.0, 2.0]])  # w·x = 5, 9, 14; E x₁² = 2, E x₁x₂ = 2
        >>> print(compensate(layer, {"weight": torch.tensor([[True, False]])}, [inputs], damping=0))
        output error of 1 layer: 34.4 % cut, 2.65 % compensated
        >>> layer.weight.data  # 3 + 4 · 2 / 2
        tensor([[7., 0.]])
    """
    found = reconstruct(model, masks, batches, damping=damping, sequential=sequential)
    if found.idle:
        todo = "Call compensate in place of fp.apply, which it includes."
        got = "weights that are zero wherever the masks cut"
        raise invalid("compensate(model=)", "the model before its masks are applied", got, todo)
    refuse_unsound(model, masks)
    write_(model, found)
    apply(model, found.keep)
    return found.record


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A compensation that is solved and not yet carried out.

    Attributes:
        record: What it comes to.
        values: New values by name, of all that changes.
        keep: Boolean, of the shapes of what is masked: False where an entry is zero.
        idle: Whether the masks cut something, and all of it was zero before.
    """

    record: Compensation
    values: Mapping[str, Tensor]
    keep: Mapping[str, Tensor]
    idle: bool


def reconstruct(
    model: nn.Module, masks: Mapping[str, Tensor], batches: Iterable[Any], *, damping: float, sequential: bool
) -> Reconstruction:
    """Solve what :func:`compensate` carries out; the model is left as found."""
    require_model("compensate", model)
    require_masks("compensate", masks)
    require_batches("compensate", batches)
    if isinstance(damping, bool) or not isinstance(damping, int | float) or not 0 <= damping < math.inf:
        raise invalid("compensate(damping=)", "a number >= 0", damping, "E.g. 0.01, of the mean square of an input.")
    with renamed({"apply(": "compensate("}):
        keep = masks_of_entries(model, masks)
    layers, left = solvable(model, masks, keep)
    if not layers:
        todo = "Linear layers and convolutions with weights of their own that are not frozen can be."
        raise invalid("compensate(model=)", "one with a layer that can be compensated", type(model).__name__, todo)
    params = dict(model.named_parameters())
    cut = {name: mask for name, mask in keep.items() if not bool(mask.all())}
    with torch.no_grad():
        idle = bool(cut) and not any(bool(params[name][~mask].any()) for name, mask in cut.items())
        work = _Work(
            layers, float(damping), {n: params[n].detach().masked_fill(~mask, 0) for n, mask in cut.items()}, dict(left)
        )
        (_in_sequence if sequential else _at_once)(model, batches, work)
        step = {name: value - params[name].detach() for name, value in work.values.items()}
    record = Compensation(work.errors, step, work.left, sequential=sequential, damping=float(damping))
    return Reconstruction(record, work.values, keep, idle)


@torch.no_grad()
def write_(model: nn.Module, found: Reconstruction) -> None:
    """Give the model the values that were solved for."""
    params = dict(model.named_parameters())
    for name, value in found.values.items():
        params[name].copy_(value)


@dataclass(eq=False)
class _Work:
    """What is solved so far.

    Attributes:
        layers: All that can be, by path.
        damping: For each.
        values: Of the parameters that changed so far; of the masked ones from the start.
        left: Why masked weights were left.
        errors: By weight.
    """

    layers: Mapping[str, Solvable]
    damping: float
    values: dict[str, Tensor]
    left: dict[str, str]
    errors: dict[str, OutputError] = field(default_factory=dict[str, OutputError])

    def cuts(self, path: str) -> bool:
        """Whether a layer lost weights, or channels that it read."""
        return not bool(self.layers[path].read.all())

    def leave(self, path: str, why: str) -> None:
        """Note why a layer is not solved, if it is cut."""
        if self.cuts(path):
            self.left[self.layers[path].weight] = why

    def solve(self, path: str, moments: InputMoments) -> None:
        """Solve one layer."""
        layer = self.layers[path]
        require_finite("compensate(batches=)", {f"E[x xᵀ] of {path}": moments.second})
        try:
            rows, error = _solved(layer, moments, self.damping)
        except SingularError:
            raise singular("compensate", layer.weight, self.damping) from None
        self.values.update(layer.split(rows))
        self.errors[layer.weight] = error


def _at_once(model: nn.Module, batches: Iterable[Any], work: _Work) -> None:
    """Every layer that is cut, with the inputs of the model as it is."""
    cut = {path: layer for path, layer in work.layers.items() if work.cuts(path)}
    modules = {path: layer.module for path, layer in cut.items()}
    constant = {path: bool(layer.bias) for path, layer in cut.items()}
    found = input_moments(model, batches, modules, constant=constant, where="compensate")
    for path in cut:
        if path in found:
            work.solve(path, found[path])
        else:
            work.leave(path, NOT_REACHED)


def _in_sequence(model: nn.Module, batches: Iterable[Any], work: _Work) -> None:
    """From the first cut on, every layer with the inputs that those before it leave."""
    kept = list(batches) if iter(batches) is batches else batches
    order = calls(model, kept, {path: layer.module for path, layer in work.layers.items()}, where="compensate")
    own = {name for layer in work.layers.values() for name in (layer.weight, layer.bias)}
    begun = any(name not in own for name in work.values)  # a norm or an embedding may come before all layers
    for path in work.layers:
        if path not in order:
            work.leave(path, NOT_REACHED)
    for path, count in order.items():
        layer = work.layers[path]
        begun |= work.cuts(path)
        if count > 1:
            work.leave(path, f"it is called {count} times in a pass: sequential=False takes all of them")
        elif begun:
            moments = moments_after(
                model, kept, layer.module, work.values, constant=bool(layer.bias), where="compensate"
            )
            if work.cuts(path) or not moments.same:
                work.solve(path, moments)


def _solved(layer: Solvable, moments: InputMoments, damping: float) -> tuple[Tensor, OutputError]:
    """The new rows of a layer, and what its outputs miss."""
    values, second, same = layer.values, moments.second, moments.same
    cross, square = (None, None) if same else (moments.cross, moments.square)
    device, dtype = second.device, layer.module.weight.dtype
    rows: list[Tensor] = []
    sums = torch.zeros(3, dtype=torch.float64)
    for group, matrix in enumerate(second):
        weights, keep = (layer.of_group(each, group).to(device) for each in (values, layer.read))
        problem = Problem(
            matrix,
            weights,
            keep,
            None if cross is None else cross[group],
            None if square is None else square[group],
            penalty_of(matrix, damping, constant=moments.constant),
        )
        delta, residual = solved(problem)
        fresh = ((weights + delta) * keep).to(dtype).double()  # as it will be in the model
        found = errors(problem, fresh - weights * keep, residual)
        sums += torch.stack([each.sum() for each in found]).cpu()
        rows.append(fresh)
    masked = layer.masked.to(device)
    fresh = torch.where(masked & ~layer.read.to(device), values.to(device), torch.cat(rows))
    before, after, whole = sums.tolist()
    return fresh, OutputError(before / whole if whole else 0.0, after / whole if whole else 0.0)
