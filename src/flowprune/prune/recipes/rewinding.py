"""Where the weights that survive a cut go: back to where they were, elsewhere, or nowhere."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, cast

from torch import Tensor, nn

from flowprune.core.errors import invalid, unknown
from flowprune.core.seeds import derive
from flowprune.models import reinitialize_

Way: TypeAlias = Callable[[nn.Module, int], object]
"""Changes the weights of a model in place, after the cut of a level; 1 is the first."""
Rewind: TypeAlias = str | Mapping[str, Any] | Way
"""A word of :data:`REWINDS`, a state dict to go back to, or a function of the model and the level."""


def redrawn(seed: int, build: Callable[..., nn.Module] | None = None) -> Way:
    """Survivors get other initial weights at each level: the control that says whether theirs mattered.

    Args:
        seed: Each level has its own weights from it.
        build: As of :func:`flowprune.models.reinitialize_`.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 2)
        >>> first = redrawn(0)(layer, 1).weight.detach().clone()
        >>> bool((redrawn(0)(layer, 2).weight == first).any()), bool((redrawn(0)(layer, 1).weight == first).all())
        (False, True)
    """
    return lambda model, level: reinitialize_(model, seed=derive(seed, "redrawn", level), build=build)


def way_of(where: str, model: nn.Module, rewind: Rewind) -> Way:
    """The function that a word, a state dict or a function stands for.

    Raises:
        UnknownNameError: another word.
        ValueError: a state dict of other names or shapes than the model's, or something else.

    Example:
        >>> way_of("imp", nn.Linear(2, 2), "strat")
        Traceback (most recent call last):
        flowprune.core.errors.UnknownNameError: imp(rewind=) has no 'strat'. Did you mean 'start'? Known: none, start.
    """
    if isinstance(rewind, str):
        if rewind not in REWINDS:
            raise unknown(f"{where}(rewind=)", rewind, REWINDS)
        return REWINDS[rewind](model)
    if isinstance(rewind, Mapping):
        _check_state(where, model.state_dict(), rewind)
        return _back_to(rewind)
    if not callable(rewind):
        raise invalid(f"{where}(rewind=)", f"{' or '.join(map(repr, REWINDS))}, a state dict or a function", rewind)
    return rewind


def _back_to(state: Mapping[str, Any]) -> Way:
    """To a copy of a state as it is now; masks hold through ``load_state_dict``."""
    kept = copy.deepcopy(dict(state))
    return lambda model, level: model.load_state_dict(kept)


def _stay(model: nn.Module, level: int) -> None:
    del model, level


REWINDS: Final[Mapping[str, Callable[[nn.Module], Way]]] = {
    "start": lambda model: _back_to(model.state_dict()),
    "none": lambda model: _stay,
}
"""``"start"``: to the weights, and the statistics of norms, at the call; ``"none"``: they stay as they were trained."""


def _check_state(where: str, own: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    odd = sorted(own.keys() ^ state.keys())
    if odd:
        raise invalid(f"{where}(rewind=)", "a state dict of the same names", f"another {odd[0]!r}")
    for name, value in own.items():
        if isinstance(value, Tensor) and value.shape != getattr(state[name], "shape", None):
            got = tuple(cast("Any", getattr(state[name], "shape", ())))
            raise invalid(f"{where}(rewind=): {name!r}", f"of shape {tuple(value.shape)}", got)
