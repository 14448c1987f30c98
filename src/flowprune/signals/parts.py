"""How many examples at a time, where memory grows with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.signals.as_found import random_state
from flowprune.signals.batches import Counted, per_shape
from flowprune.signals.footprint import graph_bytes

LEAST = 64
"""Where nothing was asked for, and an example takes much."""
LEAST_TWICE = 32
"""The same on a CPU for what is differentiated twice: at 64, ResNet-56 takes 8 % longer per example, as its temporaries
outgrow the caches."""
ROOM = 2**23
"""Bytes of graphs up to which more at a time are faster on a CPU, since each part reads all the parameters again."""


def on_cpu(params: Mapping[str, nn.Parameter]) -> bool:
    """Whether all of them are.

    Example:
        >>> on_cpu(dict(nn.Linear(2, 1).named_parameters()))
        True
    """
    return all(parameter.device.type == "cpu" for parameter in params.values())


def within_room(each: int, least: int = LEAST) -> int:
    """As many examples as take :data:`ROOM`, and no fewer than ``least``.

    Example:
        >>> within_room(2**20), within_room(2**10)
        (64, 8192)
    """
    return max(least, ROOM // max(each, 1))


class Parts:
    """Most examples of a batch to be differentiated at a time.

    What was asked for; without that :data:`LEAST`, and on a CPU as many as take :data:`ROOM` where those are more.

    Args:
        micro_batch: Asked for.
        model: In eval mode.
        loss: Of examples that do not meet.
        params: What is differentiated.
        twice: Whether it is a Hessian that is wanted.
        alike: Whether it shall be as many whatever an example takes: where something is drawn for each part.

    Example:
        >>> import torch
        >>> def loss(forward, x): return forward(x).square().mean()
        >>> model, batch = nn.Linear(4, 2), Counted(0, torch.ones(1000, 4), 1000)
        >>> params = dict(model.named_parameters())
        >>> Parts(None, model, loss, params)(batch), Parts(7, model, loss, params)(batch)
        (349525, 7)
    """

    def __init__(
        self,
        micro_batch: int | None,
        model: nn.Module,
        loss: Callable[[Callable[..., Any], Any], Tensor],
        params: Mapping[str, nn.Parameter],
        *,
        twice: bool = False,
        alike: bool = False,
    ) -> None:
        here = on_cpu(params)
        self._asked, self._model, self._loss = micro_batch, model, loss
        self._least = LEAST_TWICE if twice and here else LEAST
        self._fixed = alike or not here
        self._within = per_shape(self._found)

    def __call__(self, counted: Counted) -> int:
        """How many of these."""
        if self._asked is not None:
            return self._asked
        return self._least if self._fixed or counted.size <= self._least else self._within(counted)

    def _found(self, counted: Counted) -> int:
        restore = random_state(self._model)
        # Any error: what is wrong with the model or the loss is for the pass itself to say.
        try:
            each = graph_bytes(self._model, self._loss, counted)
        except Exception:
            return self._least
        finally:
            restore()
        return within_room(each, self._least)


def require_micro_batch(where: str, micro_batch: object) -> None:
    """Raise where it is no number of examples.

    Raises:
        ValueError: naming it.

    Example:
        >>> require_micro_batch("gather", 0)
        Traceback (most recent call last):
        ValueError: gather(micro_batch=) must be a whole number >= 1, or None; got 0.
    """
    if micro_batch is None:
        return
    if isinstance(micro_batch, bool) or not isinstance(micro_batch, int) or micro_batch < 1:
        raise invalid(f"{where}(micro_batch=)", "a whole number >= 1, or None", micro_batch)
