"""Do two models compute the same? A probe, in both modes, in double precision where the model allows it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path

from flowprune.core.errors import PruningError
from flowprune.structure.example import Example, double

TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3}
"""Largest difference, as a fraction of the largest output; other types 5e-2."""


def same_function(masked_outputs: Any, small_outputs: Any, *, tolerance: float | None = None, where: str = "") -> None:
    """Raise unless two outputs are the same up to rounding.

    Formula: max|a - b| <= tolerance * max(1e-3, max|a|), for every tensor.

    Args:
        masked_outputs: Of the masked model: a tensor, or any nest of them.
        small_outputs: Of the smaller model.
        tolerance: By default by type: 1e-7 in double, 1e-3 in single precision, 5e-2 below.
        where: Said in the error.

    Raises:
        PruningError: naming the first tensor that differs, and by how much.

    Example:
        >>> same_function({"logits": torch.ones(2)}, {"logits": torch.ones(2)})
    """
    masked, small = tree_flatten_with_path(masked_outputs)[0], tree_flatten_with_path(small_outputs)[0]
    if [path for path, _ in masked] != [path for path, _ in small]:
        raise _different(where, "output", f"{len(masked)} parts against {len(small)}")
    for (path, a), (_, b) in zip(masked, small, strict=True):
        name = f"output{keystr(path)}"
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            continue
        if a.shape != b.shape:
            raise _different(where, name, f"shape {tuple(a.shape)} against {tuple(b.shape)}")
        _same_tensor(a, b, tolerance, where=where, name=name)


def _same_tensor(a: Tensor, b: Tensor, tolerance: float | None, *, where: str, name: str) -> None:
    if a.numel() == 0 or not a.is_floating_point():
        return
    limit = TOLERANCE.get(a.dtype, 5e-2) if tolerance is None else tolerance
    x, y = a.detach().double(), b.detach().double()
    if bool((torch.isnan(x) == torch.isnan(y)).all()):
        x, y = torch.nan_to_num(x), torch.nan_to_num(y)
    worst, scale = float((x - y).abs().max()), max(1e-3, float(x.abs().max()))
    if not worst <= limit * scale:
        raise _different(where, name, f"{worst:.3g} apart at values up to {scale:.3g}")


def _different(where: str, name: str, how: str) -> PruningError:
    return PruningError(
        f"The smaller model must compute what the masked one computes{where}; {name} differs: {how}. Nothing was "
        "changed. Leave the layer out with Channels(skip=(...)), and please report the model."
    )


def compare(masked: nn.Module, small: nn.Module, example: Example, *, modes: Sequence[str] = ("eval", "train")) -> None:
    """Probe two throw-away models, which this changes, on at most two examples.

    Modules that drop at random drop nothing here; a model that still is random in training mode, or cannot run there
    (batch norm of one value), is compared in evaluation mode only.

    Raises:
        PruningError: they differ, or the smaller one cannot run.
    """
    masked, small, probe = _prepared(masked, small, example)
    for mode in modes:
        for model in (masked, small):
            model.train(mode == "train")
        if mode == "train" and not _repeatable(masked, probe):
            continue
        expected = _run(masked, probe)
        try:
            found = _run(small, probe)
        except Exception as error:
            raise PruningError(
                f"The smaller model must run in {mode} mode; it raised {type(error).__name__}: {error}. A size in the "
                "model's code does not shrink with its channels: leave the layer out with Channels(skip=(...))."
            ) from error
        same_function(expected, found, where=f" in {mode} mode")


def _prepared(masked: nn.Module, small: nn.Module, example: Example) -> tuple[nn.Module, nn.Module, Example]:
    """Two examples, double precision, no dropout: whichever of these the model can do."""
    for model in (masked, small):
        for module in model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0
    masked.eval()
    probe = example.first(2)
    if probe is not example and not _runs(masked, probe):
        probe = example
    if all(tensor.dtype == torch.float64 for tensor in masked.parameters()):
        return masked, small, probe
    exact, precise = copy.deepcopy(masked).double(), probe.map(double)
    return (exact, small.double(), precise) if _runs(exact, precise) else (masked, small, probe)


def _runs(model: nn.Module, example: Example) -> bool:
    try:
        _run(model, example)
    except Exception:
        return False
    return True


def _repeatable(model: nn.Module, example: Example) -> bool:
    """Whether a model in training mode runs, and gives the same under two seeds."""
    try:
        first, second = (_run(model, example, seed) for seed in (0, 1))
        same_function(first, second)
    except Exception:
        return False
    return True


def _run(model: nn.Module, example: Example, seed: int = 0) -> Any:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        return example.map(torch.clone).call(model)
