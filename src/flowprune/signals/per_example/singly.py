"""Per-example gradients of any model: examples mapped over in chunks, or one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vjp, vmap

from flowprune.core.call_at import call_at
from flowprune.signals.batches import Counted, mapped, size_of, split
from flowprune.signals.gradient import gradient_of
from flowprune.signals.hessian import twice_differentiable
from flowprune.signals.per_example.contribution import Consume, Dense
from flowprune.signals.per_example.hooked import Called, Engine, PerExample, Pulled

CHUNK = 16


def looped(
    model: nn.Module,
    per_example: PerExample,
    params: Mapping[str, nn.Parameter],
    pulled: Pulled | None = None,
) -> Engine:
    """An engine that runs one example at a time: slow, and right for everything that autograd can do."""
    parameters = list(params.values())

    def run(batch: Any, consume: Consume) -> Tensor:
        losses: list[Tensor] = []
        for example in split(Counted(0, batch, size_of(batch)), 1):
            called = Called(model)
            loss = per_example(called, example.batch).sum()
            losses.append(loss.detach())
            for gradient in _gradients(loss, called, example.batch, parameters, pulled):
                for name, g in zip(params, gradient, strict=True):
                    consume(name, Dense(g[None]))
        return torch.stack(losses)

    return run


def _gradients(
    loss: Tensor, called: Called, batch: Any, parameters: list[nn.Parameter], pulled: Pulled | None
) -> Iterator[tuple[Tensor, ...]]:
    if pulled is None:
        yield gradient_of(loss, parameters)
        return
    outputs = called.outputs
    for vector in pulled(outputs.detach(), batch):
        yield torch.autograd.grad(outputs, parameters, vector, retain_graph=True, materialize_grads=True)


def vectorised(
    model: nn.Module,
    per_example: PerExample,
    params: Mapping[str, nn.Parameter],
    pulled: Pulled | None = None,
) -> Engine:
    """An engine that maps the gradient of one example's loss over chunks of them."""
    point = {name: parameter.detach() for name, parameter in params.items()}

    def run(batch: Any, consume: Consume) -> Tensor:
        parts = split(Counted(0, batch, size_of(batch)), CHUNK)
        return torch.cat([_chunk(_Chunk(model, per_example, part), point, consume, pulled) for part in parts])

    return run


class _Chunk:
    """Some examples, as a function of parameters and of one example's tensors."""

    def __init__(self, model: nn.Module, per_example: PerExample, chunk: Counted) -> None:
        self._model, self._per_example, self._chunk = model, per_example, chunk
        self.tensors: list[Tensor] = []
        mapped(chunk.batch, lambda tensor: _kept(self.tensors, tensor))
        self.axes = tuple(0 if tensor.ndim and len(tensor) == chunk.size else None for tensor in self.tensors)

    @property
    def batch(self) -> Any:
        """The examples together."""
        return self._chunk.batch

    def called(self, at: dict[str, Tensor], *values: Tensor) -> tuple[Tensor, Called]:
        """The loss of one example, and its forward."""
        each: Iterator[Tensor] = iter(
            value if axis is None else value[None] for value, axis in zip(values, self.axes, strict=True)
        )
        batch = mapped(self.batch, lambda _: next(each))
        called = Called(lambda *args, **kwargs: call_at(self._model, at, args, kwargs))
        return self._per_example(called, batch).sum(), called

    def loss(self, at: dict[str, Tensor], *values: Tensor) -> Tensor:
        """The loss of one example."""
        return self.called(at, *values)[0]

    def outputs(self) -> tuple[Tensor, Tensor]:
        """Losses and outputs of all of them."""
        called = Called(self._model)
        with torch.no_grad():
            return self._per_example(called, self.batch), called.outputs


def _chunk(chunk: _Chunk, point: dict[str, Tensor], consume: Consume, pulled: Pulled | None) -> Tensor:
    if pulled is None:
        with twice_differentiable():
            mapping = vmap(grad_and_value(chunk.loss), in_dims=(None, *chunk.axes), randomness="different")
            gradients, losses = mapping(point, *chunk.tensors)
        for name, gradient in gradients.items():
            consume(name, Dense(gradient))
        return losses
    losses, outputs = chunk.outputs()

    def pull(vector: Tensor, *values: Tensor) -> dict[str, Tensor]:
        def at(params: dict[str, Tensor]) -> Tensor:
            return chunk.called(params, *values)[1].outputs

        found, back, *_ = vjp(at, point)
        return cast("dict[str, Tensor]", back(vector.reshape_as(cast(Tensor, found)))[0])

    with twice_differentiable():
        mapping = vmap(pull, in_dims=(0, *chunk.axes), randomness="different")
        for vector in pulled(outputs, chunk.batch):
            for name, gradient in mapping(vector, *chunk.tensors).items():
                consume(name, Dense(gradient))
    return losses


def _kept(tensors: list[Tensor], tensor: Tensor) -> Tensor:
    tensors.append(tensor)
    return tensor
