"""A throw-away copy of a model to try things on, and the random state put back afterwards."""

from __future__ import annotations

import copy
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from flowprune.core.errors import PruningError
from flowprune.signals.as_found import random_state, reseed

LIBRARIES = ("torch", "transformers")
"""Packages whose modules and hooks are the model's own."""


def copied(model: nn.Module, where: str, memo: Mapping[int, object] | None = None) -> nn.Module:
    """A deep copy, hooks included.

    Args:
        model: Any module.
        where: Said in the error.
        memo: What stands in the copy for objects of the model, by ``id``.

    Raises:
        PruningError: the model cannot be copied.
    """
    try:
        return copy.deepcopy(model, dict(memo or {}))
    except Exception as error:
        raise PruningError(
            f"{where}(model=) must be a model that copy.deepcopy can copy; it raised {type(error).__name__}: "
            f"{str(error).rstrip('.')}. {_way_out(model)}"
        ) from error


def _way_out(model: nn.Module) -> str:
    """What to do about a model that cannot be copied."""
    for path, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, (WeightNorm, SpectralNorm)):
                old = "weight_norm" if isinstance(hook, WeightNorm) else "spectral_norm"
                return (
                    f"{path or 'The model'!r} keeps a weight that torch.nn.utils.{old} computes: use "
                    f"torch.nn.utils.parametrizations.{old}, or torch.nn.utils.remove_{old} first."
                )
    return "Remove tensors with a gradient history from its attributes."


def sharing(model: nn.Module, where: str) -> nn.Module:
    """A copy, hooks included, that holds the very parameters of the model: it costs the buffers and no weights.

    Whoever wants to change a parameter of it puts another in its place.

    Raises:
        PruningError: the model cannot be copied.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> twin = sharing(layer, "example")
        >>> twin is layer, twin.weight is layer.weight
        (False, True)
    """
    return copied(model, where, {id(param): param for param in model.parameters()})


def duplicate(model: nn.Module, where: str = "trace") -> nn.Module:
    """A deep copy without the user's hooks, which neither see nor slow what is tried on it.

    Hooks of PyTorch and of transformers stay: some compute a weight, some collect outputs.

    Raises:
        PruningError: the model cannot be copied.
    """
    return without_hooks(copied(model, where))


def without_hooks(twin: nn.Module) -> nn.Module:
    """The model itself, its hooks gone but for those of its libraries."""
    for module in twin.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if not is_of_library(hook)]:
                del hooks[key]
    return twin


def is_of_library(hook: object, libraries: Collection[str] = LIBRARIES) -> bool:
    """Whether a hook is of a library that builds models, and part of what they compute."""
    hook = hook.func if isinstance(hook, partial) else hook
    owner = getattr(hook, "__module__", None) or type(hook).__module__
    return owner.partition(".")[0] in libraries


def has_hooks(model: nn.Module) -> bool:
    """Whether there are forward hooks besides those of its libraries."""
    hooks = (h for m in model.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values()))
    return not all(is_of_library(hook) for hook in hooks)


@contextmanager
def random_state_kept(model: nn.Module, seed: int | None = None) -> Generator[None]:
    """Within the block random numbers start from a seed, if one is given; after it the global state is as before.

    Example:
        >>> import torch
        >>> with random_state_kept(nn.Identity(), seed=0):
        ...     first = torch.rand(1)
        >>> with random_state_kept(nn.Identity(), seed=0):
        ...     bool(torch.rand(1) == first)
        True
    """
    restore = random_state(model)
    try:
        if seed is not None:
            reseed(model, seed)
        yield
    finally:
        restore()
