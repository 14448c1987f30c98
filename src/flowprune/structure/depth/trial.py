"""Is a block nothing but an addition? Zero it and see, without it and see.

Trials run on copies of a twin that share its tensors, with weights scattered around the model's own: where these are
zero or alike, as they are before training, too much would look the same.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from flowprune.core.call_at import call_at
from flowprune.core.errors import PruningError
from flowprune.structure.capture import Deadline
from flowprune.structure.depth.candidates import Candidate
from flowprune.structure.depth.drop import drop_
from flowprune.structure.example import Example
from flowprune.structure.verify import compare, run_once, same_function

NOISE = 0.1
"""Standard deviation of what is added to vectors."""


@torch.no_grad()
def scatter_(model: nn.Module, seed: int) -> None:
    """Give a twin other weights of the same size: rows change sign at random, vectors and constants get noise.

    A sum that happens to be positive for one draw is not for the next.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, like: Tensor) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(like.device, like.dtype)

    for param in model.parameters():
        if not param.is_floating_point() or not param.numel():
            continue
        alike = param.dim() < 2 or bool((param == param.reshape(-1)[0]).all())
        if param.dim():
            param.mul_(normal(len(param), *[1] * (param.dim() - 1), like=param).sign())
        if alike:
            param.add_(normal(*param.shape, like=param), alpha=NOISE)


class _Observer:
    """Calls each block a second time, masked, on what it is called with, and keeps what came of it."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self.called: set[str] = set()
        self._busy = False

    def watch(self, path: str, block: nn.Module) -> Any:
        """Observe a block; the handle to stop it."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._busy:
                return
            self._busy = True
            try:
                self.called.add(path)
                reason = _not_an_addition(module, *copy.deepcopy((args, kwargs)))
                if reason is not None:
                    self.reasons[path] = reason
            finally:
                self._busy = False

        return block.register_forward_pre_hook(hook, with_kwargs=True)


def observe(twin: nn.Module, probe: Example, blocks: Collection[Candidate], mode: str) -> dict[str, str]:
    """Why blocks, by path, do not give back their input once they are masked; those that do are not named.

    Raises:
        PruningError: the model does not run on the examples in evaluation mode.
    """
    observer = _Observer()
    twin.train(mode == "train")
    handles = [observer.watch(block.path, twin.get_submodule(block.path)) for block in blocks]
    try:
        run_once(twin, probe)
    except Exception as error:
        if mode == "train":
            return {}  # batch norm of one value: compare() leaves this mode out too
        raise PruningError(
            f"The model must run on the example inputs in eval mode; it raised {type(error).__name__}: {error}. "
            "Pass example_inputs that it is called with."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    unused = {b.path: "the forward pass does not call it" for b in blocks if b.path not in observer.called}
    return {**unused, **observer.reasons} if mode == "eval" else observer.reasons


def _not_an_addition(block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Why a block with all its parameters at zero does not give back its input, or None where it does."""
    given = _first(copy.deepcopy((args, kwargs)))  # the block may work in place
    zeros = {name: torch.zeros_like(param) for name, param in block.named_parameters() if param.dim()}
    try:
        result = _first(call_at(block, zeros, args, dict(kwargs)))
    except Exception as error:
        return f"masked, it does not run ({type(error).__name__}: {error})"
    if given is None or result is None:
        return "it does not map a tensor to a tensor"
    if given.shape != result.shape:
        return f"it gives {tuple(result.shape)} for an input of {tuple(given.shape)}"
    if not bool(torch.isfinite(result).all()):
        return "masked, its output is not finite"
    try:
        same_function(given, result)
    except PruningError:
        worst = float((given - result).abs().max())
        return (
            f"masked, it does not give back its input ({worst:.2g} apart at values up to {float(given.abs().max()):.2g}"
            "): there is no sum with the input, or a layer acts on that sum"
        )
    return None


def _first(nest: Any) -> Tensor | None:
    """The first tensor of numbers in a nest."""
    return next((x for x in tree_leaves(nest) if isinstance(x, Tensor) and x.is_floating_point()), None)


class Comparison:
    """A model with some blocks masked beside the model without them, for one set of blocks after the other."""

    def __init__(self, twin: nn.Module, probe: Example, deadline: Deadline) -> None:
        self._masked, self._probe, self._deadline = twin, probe, deadline
        self._small = _sharing(twin)

    def differs(self, gone: Collection[str], modes: Sequence[str]) -> str | None:
        """Why the two are not the same function in these modes, or None where they are."""
        try:
            with _zeroed(self._masked, gone), self._deadline:
                dropped = drop_(self._small, list(gone))
                agreed = compare(self._masked, self._small, self._probe, modes=modes)
        except Exception as error:
            self._deadline.check()
            self._small = _sharing(self._masked)  # whatever a forward pass that raised has left behind
            return _told(error)
        dropped.undo()
        self._deadline.check()  # training mode may have been left out because time was up
        return None if agreed else "the model is random, so that nothing can be compared"


def _sharing(model: nn.Module) -> nn.Module:
    """A copy of the modules around the same tensors."""
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo)


@contextmanager
def _zeroed(model: nn.Module, paths: Collection[str]) -> Generator[None]:
    """Within the block, zeros in the place of the parameters of some modules; the parameters are left alone."""
    found = [
        (module, name, param)
        for path in paths
        for module in model.get_submodule(path).modules()
        for name, param in module._parameters.items()
        if param is not None and param.dim()
    ]
    try:
        for module, name, param in found:
            module._parameters[name] = nn.Parameter(torch.zeros_like(param), requires_grad=param.requires_grad)
        yield
    finally:
        for module, name, param in found:
            module._parameters[name] = param


def _told(error: Exception) -> str:
    """The first sentence of an error."""
    text = f"{error}" if isinstance(error, PruningError) else f"{type(error).__name__}: {error}"
    return "without it, " + text.partition(". ")[0].strip().replace("The smaller model", "the model", 1)
