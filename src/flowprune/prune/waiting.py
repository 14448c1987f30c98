"""Before the first cut: what an event is shown of a model, which stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np
from torch import Tensor, nn

from flowprune.core.errors import PruningError, invalid
from flowprune.core.tensors import squared_norm
from flowprune.masks import Masks
from flowprune.schedules import Event, Look
from flowprune.schedules.events.counted import require_fresh


class Waiting:
    """An event, and the weights at its first look where it reads how far they moved.

    Args:
        model: Read only.
        event: Fresh; it is bound to the sparsity and the granularity.
        sparsity: The final one.
        granularity: The name of the units.

    Raises:
        ValueError: no event, one that has seen a look already, or one that is made for another sparsity.
    """

    def __init__(self, model: nn.Module, event: Event, *, sparsity: float, granularity: str) -> None:
        fresh = require_fresh("Pruner(when=)", event)
        self._model = model
        self.event = fresh.bound(sparsity=sparsity, granularity=granularity)
        self._anchor: dict[str, Tensor] | None = None

    @property
    def reads_mask(self) -> bool:
        """Whether the next look needs the mask that pruning now would give."""
        return "mask" in self.event.needs

    @property
    def anchor(self) -> dict[str, Tensor] | None:
        """The weights at the first look, by name; None where nothing reads how far they moved."""
        return self._anchor

    @anchor.setter
    def anchor(self, weights: Mapping[str, Tensor] | None) -> None:
        if weights is None:
            self._anchor = None
            return
        if "movement" not in self.event.needs or not self.event.looks or self.event.fired:
            rule = "set only while an event waits that has seen how far the weights moved"
            raise invalid("Pruner.anchor", rule, list(weights), "Call Pruner.resume(event=) before it.")
        live = weights_of(self._model)
        if _shapes(weights) != _shapes(live):
            raise invalid("Pruner.anchor", f"of this model's weights, {_shapes(live)}", _shapes(weights))
        self._anchor = {name: weights[name].detach().to(live[name], copy=True) for name in live}

    def show(self, masks: Masks | None) -> None:
        """One more look, at the mask that pruning now would give where the event reads it."""
        moved = self._movement() if "movement" in self.event.needs else None
        self.event = self.event.see(look_at(self.event.looks + 1, masks, moved))
        if self.event.fired or "movement" not in self.event.needs:
            self._anchor = None  # as large as the model, and read no more

    def resume(self, state: Mapping[str, Any], *, cut: bool) -> None:
        """Go on where the event of that state stood; ``cut`` says whether the first cut was made by then."""
        if isinstance(state, Event):
            raise invalid("Pruner.resume(event=)", "what event.state() gave", state, "Pass event.state().")
        event = self.event.restored(state)
        if cut and not event.fired:
            raise invalid("Pruner.resume(event=)", "one that fired, since cuts were made", f"{event.looks} looks")
        self.event, self._anchor = event, None

    def _movement(self) -> float:
        if not self.event.looks:
            self._anchor = {name: weight.clone() for name, weight in weights_of(self._model).items()}
        if self._anchor is None:
            raise PruningError(
                f"Pruner.anchor must be restored with the event, which has seen {self.event.looks} looks. Save it at "
                "every look, and set it after Pruner.resume(event=)."
            )
        return movement(weights_of(self._model), self._anchor)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The tensors with two or more axes, which movement is measured on; they share the model's memory."""
    return {name: param.detach() for name, param in model.named_parameters() if param.dim() >= 2}


def movement(now: Mapping[str, Tensor], then: Mapping[str, Tensor]) -> float:
    """How far weights moved: ||now - then|| / ||then|| over all tensors together, summed in float64.

    Raises:
        PruningError: the tensors are not the same, or ``then`` is zero everywhere.

    Example:
        >>> import torch
        >>> movement({"w": torch.tensor([3.0, 0.0])}, {"w": torch.tensor([3.0, 4.0])})
        0.8
    """
    if _shapes(now) != _shapes(then):
        raise PruningError(
            "fp.Pruner must meet the model as it was at the first look; its weights have other names or shapes. "
            "Let nothing else cut the model while it waits."
        )
    start = squared_norm(then)
    if start == 0.0:
        raise PruningError("fp.Pruner must start from weights that are not all zero; it measures how far they move.")
    return sqrt(squared_norm(now[name] - weight for name, weight in then.items()) / start)


def look_at(count: int, masks: Masks | None, moved: float | None) -> Look:
    r"""A look as plain data.

    Example:
        >>> import torch
        >>> look_at(1, Masks({"w": torch.tensor([True, False, True])}), None)
        Look(count=1, bits=b'\xa0', units=3, layers=('w',), kept=(2,), movement=None)
    """
    if masks is None:
        return Look(count, movement=moved)
    flat = np.concatenate([mask.reshape(-1).numpy(force=True) for mask in masks.values()])
    kept = tuple(layer.kept for layer in masks.per_layer().values())
    bits = np.packbits(flat).tobytes()
    return Look(count, bits=bits, units=flat.size, layers=tuple(masks), kept=kept, movement=moved)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
