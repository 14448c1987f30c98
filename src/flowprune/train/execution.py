"""How training steps are computed: in which precision, memory layout, and compiled or not.

What is computed stays the same up to rounding: weights, optimizer state and losses are float32 in any case. Scoring,
evaluation and everything that is recorded never pass through here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from flowprune.core.errors import unknown
from flowprune.train.evaluation import Objective
from flowprune.train.forward import Forward
from flowprune.train.loss_scale import LossScale

PRECISIONS: Final[Mapping[str, torch.dtype]] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
MEMORY_FORMATS: Final[Mapping[str, torch.memory_format]] = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
COMPILED: Final = ("none", "default", "reduce-overhead", "max-autotune")
"""Modes of ``torch.compile``; "reduce-overhead" replays CUDA graphs."""


@dataclass(frozen=True)
class Execution:
    """Settings of the training step.

    Attributes:
        precision: Of the forward and backward pass, by autocast: a name of :data:`PRECISIONS`. ``"float16"`` scales the
            loss (:class:`~flowprune.train.loss_scale.LossScale`); ``"bfloat16"`` has no need to.
        memory_format: Of the weights of convolutions: ``"contiguous"`` or ``"channels_last"``.
        compiled: A mode of ``torch.compile``, or ``"none"``. After every cut the step is compiled again, which takes
            tens of seconds: many rounds do not pay.

    Raises:
        UnknownNameError: a setting that there is not.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> training = Execution(precision="bfloat16").objective(lambda forward, batch: forward(batch[0]).sum(), model)
        >>> training(model, (torch.ones(1, 2), None)).dtype
        torch.float32
    """

    precision: str = "float32"
    memory_format: str = "contiguous"
    compiled: str = "none"

    def __post_init__(self) -> None:
        for field, known in (("precision", PRECISIONS), ("memory_format", MEMORY_FORMATS), ("compiled", COMPILED)):
            if getattr(self, field) not in known:
                raise unknown(f"Execution({field}=)", getattr(self, field), known)

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model itself, with its weights in the memory format; what is cut out of them later keeps it."""
        return model.to(memory_format=MEMORY_FORMATS[self.memory_format])  # pyright: ignore[reportCallIssue]

    def objective(self, objective: Objective, model: nn.Module, optimizer: Optimizer | None = None) -> Objective:
        """An objective to train with: the same loss, computed as these settings say.

        Args:
            objective: (forward, batch) -> scalar mean loss.
            model: Which is trained.
            optimizer: Of the model; needed for ``"float16"`` alone.
        """
        if self == Execution(memory_format=self.memory_format):
            return objective
        call = None if self.compiled == "none" else _compile(model, self.compiled)
        half = None if self.precision == "float32" else PRECISIONS[self.precision]
        scale = LossScale(optimizer) if self.precision == "float16" and optimizer is not None else None
        return Executed(objective, call, half, scale)


@dataclass(frozen=True, eq=False)
class Executed:
    """An objective as :class:`Execution` computes it.

    Attributes:
        inner: The objective.
        call: The compiled model, or None.
        half: The type of the forward pass, or None for float32.
        scale: Of the loss in float16; its state belongs to a checkpoint.
    """

    inner: Objective
    call: Callable[..., Any] | None
    half: torch.dtype | None
    scale: LossScale | None

    def __call__(self, forward: Callable[..., Any], batch: Any) -> Tensor:
        """The loss of a batch."""
        if self.call is not None and isinstance(forward, Forward):
            forward = forward.via(self.call)
        loss = self.inner(forward if self.half is None else partial(_in_half, forward, self.half), batch)
        return loss if self.scale is None else self.scale(loss)


def _in_half(forward: Callable[..., Any], half: torch.dtype, *inputs: Any, **named: Any) -> Any:
    """The model's outputs computed in half precision, as float32."""
    device = next(value.device.type for value in (*inputs, *named.values()) if isinstance(value, Tensor))
    with torch.autocast(device, dtype=half):
        output = forward(*inputs, **named)
    return tree_map(_single, output)


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _compile(model: nn.Module, mode: str) -> Callable[..., Any]:
    return torch.compile(model, dynamic=False, mode=None if mode == "default" else mode)
