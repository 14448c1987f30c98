"""A forward pass that remembers its logits, so that loss and accuracy cost one pass together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from typing import Any

from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.objectives.batch import arguments, inputs_of


class Forward:
    """Calls the model, and keeps the output that belongs to the batch's own inputs.

    An objective may run the model on other inputs too (adversarial ones, or all ones): their outputs are not kept.

    Example:
        >>> import torch
        >>> inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> forward = Forward(nn.Identity(), (inputs, torch.tensor([0, 0])))
        >>> _ = forward(inputs)
        >>> int(forward.correct()), forward.examples
        (1, 2)
    """

    def __init__(self, model: nn.Module, batch: Any) -> None:
        self._call: Callable[..., Any] = model
        self._args, self._named = arguments(inputs_of(batch))
        self._targets = batch.get("targets", batch.get("labels")) if isinstance(batch, Mapping) else batch[1]
        self._logits: Tensor | None = None
        self.examples = _examples(next(iter((*self._args, *self._named.values())), None))

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """What the model returns."""
        output = self._call(*inputs, **named)
        logits = getattr(output, "logits", output)
        if self._own(inputs, named) and isinstance(logits, Tensor):
            self._logits = logits.detach()
        return output

    def via(self, call: Callable[..., Any]) -> Forward:
        """The same, through another callable that computes what the model does, such as its compiled form."""
        self._call = call
        return self

    def _own(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> bool:
        if len(inputs) != len(self._args) or named.keys() != self._named.keys():
            return False
        pairs = [*zip(inputs, self._args, strict=True), *((named[key], self._named[key]) for key in named)]
        return all(given is own for given, own in pairs)

    def correct(self) -> Tensor | None:
        """How many examples have their largest logit at the label; None where there are no labels or no logits."""
        logits, targets = self._logits, self._targets
        if logits is None or not isinstance(targets, Tensor) or targets.is_floating_point():
            return None
        if logits.ndim != 2 or targets.shape != logits.shape[:1]:
            return None
        return (logits.argmax(1) == targets).sum()


def _examples(first: Any) -> int:
    """How many examples a batch has, by its first input."""
    if not isinstance(first, Sized) or not len(first):
        got = type(first).__name__ if not isinstance(first, Tensor) else f"inputs of shape {tuple(first.shape)}"
        raise invalid("batch", "inputs of at least one example, with targets", got, "Leave empty batches out.")
    return len(first)
