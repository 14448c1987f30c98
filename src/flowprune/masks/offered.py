"""The weights that a pattern is offered: those with two or more axes, and which of the two are their inputs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd  # pyright: ignore[reportPrivateUsage]

from flowprune.core.errors import invalid
from flowprune.signals import Signals

LEFT_OUT = r".* leaves weights whole that it does not fit"
"""The beginning of what :func:`warn_left_out` says, as a pattern."""


def offered(where: str, signals: Signals, skip: Sequence[str]) -> dict[str, tuple[Tensor, bool]]:
    """The weights with two or more axes, with whether their inputs are on axis 0, without those skipped.

    Raises:
        ValueError: a pattern of ``skip`` fits no parameter.

    Example:
        >>> import torch
        >>> signals = Signals(params={"fc.weight": torch.ones(2, 4), "fc.bias": torch.ones(2)})
        >>> list(offered("NM", signals, ()))
        ['fc.weight']
    """
    for pattern in skip:
        if not any(fnmatchcase(name, pattern) for name in signals.params):
            raise invalid(f"{where}(skip=)", "patterns of parameter names", pattern, f"There are {[*signals.params]}.")
    first = set(_inputs_first(signals.model))
    found = {
        n: p for n, p in signals.params.items() if p.dim() >= 2 and (signals.prunable is None or n in signals.prunable)
    }
    return {n: (p, n in first) for n, p in found.items() if not any(fnmatchcase(n, each) for each in skip)}


def _inputs_first(model: nn.Module | None) -> Iterable[str]:
    """Weights stored as (inputs, outputs): of transposed convolutions, and of the ``Conv1D`` of GPT-2."""
    for path, module in model.named_modules() if model is not None else ():
        if isinstance(module, _ConvTransposeNd) or (type(module).__name__ == "Conv1D" and hasattr(module, "nf")):
            yield f"{path}.weight" if path else "weight"


def require_skip(where: str, skip: object) -> None:
    """Raise where one pattern was given in place of a tuple of them."""
    if isinstance(skip, str):
        raise invalid(f"{where}(skip=)", "a tuple of patterns", skip, f"Write skip=({skip!r},).")


def warn_left_out(where: str, left_out: Mapping[str, str]) -> None:
    """Say which weights do not fit a pattern: they are not offered, and nobody should think that they were."""
    if left_out:
        told = "; ".join(f"{name!r} ({why})" for name, why in left_out.items())
        names = ", ".join(map(repr, left_out))
        warnings.warn(
            f"{where} leaves weights whole that it does not fit: {told}. skip=({names},) says so.", stacklevel=4
        )
