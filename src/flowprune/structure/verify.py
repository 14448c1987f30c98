"""Do two models compute the same? A probe, in both modes, in double precision where the model allows it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves

from flowprune.core.errors import PruningError
from flowprune.core.tensors import wide
from flowprune.signals.as_found import Buffers
from flowprune.structure.example import Example, double
from flowprune.structure.twin import random_state_kept, sharing

EXACT = 10_000_000
"""Parameters up to which a model is compared in double precision, on copies; a larger one as it is."""
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3}
"""Largest difference, as a fraction of the largest output; other types 5e-2."""
REDRAWS = 4
"""Further seeds under which a model that differs from its cut copy is run, to tell a wrong cut from a random model."""


def same_function(masked_outputs: Any, small_outputs: Any, *, tolerance: float | None = None, where: str = "") -> int:
    """Raise unless two outputs are the same up to rounding; the number of finite values that were compared.

    Formula: max|a - b| <= tolerance * max(1e-3, max|a|), for every tensor, over its finite values. NaN and infinities
    must stand in the same places; whole numbers and truth values must be equal. Where nothing was compared, nothing
    is shown: that is for the caller to judge.

    Args:
        masked_outputs: Of the masked model: a tensor, or any nest of them.
        small_outputs: Of the smaller model.
        tolerance: By default by type: 1e-7 in double, 1e-3 in single precision, 5e-2 below.
        where: Said in the error.

    Raises:
        PruningError: naming the first tensor that differs, and by how much.

    Example:
        >>> same_function({"logits": torch.ones(2)}, {"logits": torch.ones(2)})
        2
    """
    masked, small = tree_flatten_with_path(masked_outputs)[0], tree_flatten_with_path(small_outputs)[0]
    if [path for path, _ in masked] != [path for path, _ in small]:
        raise _different(where, "output", f"{len(masked)} parts against {len(small)}")
    compared = 0
    for (path, a), (_, b) in zip(masked, small, strict=True):
        name = f"output{keystr(path)}"
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            continue
        if a.shape != b.shape:
            raise _different(where, name, f"shape {tuple(a.shape)} against {tuple(b.shape)}")
        limit = TOLERANCE.get(a.dtype, 5e-2) if tolerance is None else tolerance
        found = difference(a, b)
        if found.special is not None:
            raise _different(where, name, found.special)
        if not found.part <= limit:
            raise _different(where, name, f"{found.distance:.3g} apart at values up to {found.scale:.3g}")
        compared += found.compared
    return compared


@dataclass(frozen=True)
class Difference:
    """How far apart two tensors of one shape are.

    Attributes:
        special: What differs beyond a distance: where NaN and infinities stand, or whole numbers; None for nothing.
        distance: The largest difference of finite values.
        scale: The largest finite value of the first one, at least 1e-3.
        compared: How many values tell so.
    """

    special: str | None
    distance: float
    scale: float
    compared: int

    @property
    def part(self) -> float:
        """The distance as a fraction of the scale."""
        return self.distance / self.scale


def difference(a: Tensor, b: Tensor) -> Difference:
    """How far apart two tensors of one shape are.

    Example:
        >>> difference(torch.tensor([1.0, float("nan")]), torch.tensor([1.5, float("nan")]))
        Difference(special=None, distance=0.5, scale=1.0, compared=1)
    """
    if not (a.is_floating_point() or a.is_complex()):
        unequal = int((a != b.to(a.device)).sum())
        return Difference(f"{unequal} of {a.numel()} whole numbers" if unequal else None, 0.0, 1.0, a.numel())
    x, y = (wide(torch.view_as_real(t) if t.is_complex() else t) for t in (a, b))
    finite = torch.isfinite(x)
    elsewhere = not torch.equal(finite, torch.isfinite(y))
    if elsewhere or not torch.equal(x[~finite].nan_to_num(), y[~finite].nan_to_num()):
        return Difference("NaN or infinities in other places", 0.0, 1.0, int(finite.sum()))
    x, y = x[finite], y[finite]
    if not x.numel():
        return Difference(None, 0.0, 1.0, 0)
    return Difference(None, float((x - y).abs().max()), max(1e-3, float(x.abs().max())), x.numel())


def _different(where: str, name: str, how: str) -> PruningError:
    return PruningError(
        f"The smaller model must compute what the masked one computes{where}; {name} differs: {how}. Nothing was "
        "changed. Leave the layer out with skip=(...) of its granularity, and please report the model."
    )


@dataclass(frozen=True, eq=False)
class Unmasked:
    """A model before a mask.

    Attributes:
        model: As it was.
        masked: What the mask sets to zero something of, in words for an error.
    """

    model: nn.Module
    masked: tuple[str, ...]

    @classmethod
    def of(cls, model: nn.Module, masks: Mapping[str, Tensor]) -> Unmasked:
        """Before boolean masks by name."""
        return cls(model, tuple(repr(name) for name, mask in masks.items() if not bool(mask.all())))


def compare(
    masked: nn.Module,
    small: nn.Module,
    example: Example,
    *,
    modes: Sequence[str] = ("eval", "train"),
    unmasked: Unmasked | None = None,
) -> tuple[str, ...]:
    """Probe two models on at most two examples; the modes in which they agree.

    Their modes and their dropout are changed; their parameters, which other models may share, are not.

    Modules that drop at random drop nothing here. A mode in which the masked model gives something else under another
    seed says nothing about the removal and is left out; so is training mode where it cannot run (batch norm of one
    value). The smaller model must run in any case. Random state and buffers are the same for each run.

    Cost: two passes per mode, on two examples; in double precision where the model allows it and has at most
    :data:`EXACT` parameters. Where the masked model gives NaN or infinities one more, of the unmasked model, if it is
    given: what is finite in that one is finite in the masked one.

    Raises:
        PruningError: they differ, one of them cannot run, the mask makes something infinite, or there are tensors
            without values, on the meta device.
    """
    _require_values(masked)
    masked, small, probe = _prepared(masked, small, example)
    return tuple(mode for mode in modes if _agree(masked, small, probe, mode, unmasked))


def _require_values(model: nn.Module) -> None:
    empty = next((name for name, tensor in model.state_dict(keep_vars=True).items() if _is_meta(tensor)), None)
    if empty is not None:
        raise PruningError(
            f"Two models must have values to be compared; {empty!r} is on the meta device. "
            "Load the weights first, or pass verify=False."
        )


def _is_meta(tensor: object) -> bool:
    return isinstance(tensor, Tensor) and tensor.is_meta


def _agree(masked: nn.Module, small: nn.Module, probe: Example, mode: str, unmasked: Unmasked | None) -> bool:
    """Whether two models were compared in a mode and found the same."""
    for model in (masked, small):
        model.train(mode == "train")
    try:
        expected = run_once(masked, probe)
    except Exception as error:
        if mode == "train":
            return False
        raise PruningError(
            f"The model must run on the example inputs in {mode} mode; it raised {type(error).__name__}: {error}. "
            "Pass example_inputs that it is called with."
        ) from error
    if unmasked is not None:
        _require_finite(unmasked, masked, expected, probe, mode)
    try:
        found = run_once(small, probe)
    except Exception as error:
        raise PruningError(
            f"The smaller model must run in {mode} mode; it raised {type(error).__name__}: {error}. A size in the "
            "model's code does not shrink with its channels: leave the layer out with skip=(...) of its granularity."
        ) from error
    try:
        compared = same_function(expected, found, where=f" in {mode} mode")
    except PruningError:
        if _is_random(masked, probe, expected):
            return False
        raise
    if not compared:
        raise PruningError(
            f"The model must give some finite numbers on the example inputs in {mode} mode, to show that the smaller "
            "one gives the same; it gives none. Nothing was changed. Pass example_inputs for which it does."
        )
    return True


def _require_finite(unmasked: Unmasked, masked: nn.Module, outputs: Any, probe: Example, mode: str) -> None:
    """Raise where the masked model gives NaN or an infinity and the unmasked one gives a number."""
    given = [x for x in tree_leaves(outputs) if isinstance(x, Tensor)]
    if all(bool(torch.isfinite(x).all()) for x in given):
        return
    exact = any(p.dtype == torch.float64 for p in masked.parameters())
    twin = copy.deepcopy(unmasked.model).double() if exact else sharing(unmasked.model, "rehearse")
    settle_(twin)
    whole = [x for x in tree_leaves(run_once(twin.train(mode == "train"), probe)) if isinstance(x, Tensor)]
    for before, after in zip(whole, given, strict=False):
        if before.shape == after.shape and bool((torch.isfinite(before) & ~torch.isfinite(after)).any()):
            raise PruningError(
                f"The masked model must be finite where the model is; with channels of {', '.join(unmasked.masked)} at "
                f"zero its output in {mode} mode is not: something divides by what they make. Nothing was changed. "
                "Leave that layer out with skip=(...) of its granularity."
            )


def _is_random(model: nn.Module, probe: Example, first: Any) -> bool:
    """Whether a model gives something else under another seed; draws of a few dropped units coincide now and then."""
    for seed in range(1, 1 + REDRAWS):
        try:
            same_function(first, run_once(model, probe, seed=seed))
        except PruningError:
            return True
    return False


def _prepared(masked: nn.Module, small: nn.Module, example: Example) -> tuple[nn.Module, nn.Module, Example]:
    """Two examples, double precision, no dropout: whichever of these the model can do."""
    for model in (masked, small):
        settle_(model)
    masked.eval()
    devices = {tensor.device for tensor in masked.parameters()}
    if len(devices) == 1:  # a model that was traced elsewhere
        device = devices.pop()
        example = example.map(lambda x: x.to(device))
    probe = example.first(2)
    if all(tensor.dtype == torch.float64 for tensor in masked.parameters()):
        return masked, small, probe if probe is example or _runs(masked, probe) else example
    size = sum(tensor.numel() for tensor in masked.parameters())
    for few in dict.fromkeys((probe, example)) if size <= EXACT else ():
        exact = doubled(masked, few)
        if exact is not None:
            return exact, copy.deepcopy(small).double(), few.map(double)
    return masked, small, probe if probe is example or _runs(masked, probe) else example


def settle_(model: nn.Module) -> None:
    """Drop nothing at random, and return no cache of keys and values, which has an entry for each layer."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(module, (nn.MultiheadAttention, nn.RNNBase)):
            module.dropout = 0.0
        config = vars(module).get("config")
        if getattr(config, "use_cache", None) is True:
            cast("Any", config).use_cache = False


def doubled(model: nn.Module, example: Example) -> nn.Module | None:
    """The model in double precision, if it runs so; some devices and some models have single precision only."""
    try:
        exact = copy.deepcopy(model).double()
        run_once(exact, example.map(double))
    except Exception:
        return None
    return exact


def _runs(model: nn.Module, example: Example) -> bool:
    try:
        run_once(model, example)
    except Exception:
        return False
    return True


def run_once(model: nn.Module, example: Example, seed: int = 0) -> Any:
    """The output from one seed and from the buffers as they were: a batch norm in training mode moves them."""
    buffers = Buffers(model)
    with random_state_kept(model, seed), torch.inference_mode(False), torch.no_grad():
        buffers.lend()
        try:
            return example.copied().call(model)
        finally:
            buffers.give_back()
