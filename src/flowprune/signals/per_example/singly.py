"""Per-example gradients of any model: examples mapped over in chunks, or one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from flowprune.signals.batches import Counted, mapped, size_of, split
from flowprune.signals.gradient import gradient_of
from flowprune.signals.hessian import twice_differentiable
from flowprune.signals.per_example.contribution import Consume, Dense
from flowprune.signals.per_example.hooked import Engine, PerExample

CHUNK = 16


def looped(model: nn.Module, per_example: PerExample, params: Mapping[str, nn.Parameter]) -> Engine:
    """An engine that runs one example at a time: slow, and right for everything that autograd can do."""
    parameters = list(params.values())

    def run(batch: Any, consume: Consume) -> Tensor:
        losses: list[Tensor] = []
        for example in split(Counted(0, batch, size_of(batch)), 1):
            loss = per_example(model, example.batch).sum()
            gradient = gradient_of(loss, parameters)
            losses.append(loss.detach())
            for name, g in zip(params, gradient, strict=True):
                consume(name, Dense(g[None]))
        return torch.stack(losses)

    return run


def vectorised(model: nn.Module, per_example: PerExample, params: Mapping[str, nn.Parameter]) -> Engine:
    """An engine that maps the gradient of one example's loss over chunks of them."""
    point = {name: parameter.detach() for name, parameter in params.items()}

    def run(batch: Any, consume: Consume) -> Tensor:
        parts = split(Counted(0, batch, size_of(batch)), CHUNK)
        return torch.cat([_chunk(model, per_example, point, part, consume) for part in parts])

    return run


def _chunk(
    model: nn.Module, per_example: PerExample, point: dict[str, Tensor], chunk: Counted, consume: Consume
) -> Tensor:
    tensors: list[Tensor] = []
    mapped(chunk.batch, lambda tensor: _kept(tensors, tensor))
    axes = tuple(0 if tensor.ndim and len(tensor) == chunk.size else None for tensor in tensors)

    def loss(at: dict[str, Tensor], *values: Tensor) -> Tensor:
        each: Iterator[Tensor] = iter(
            value if axis is None else value[None] for value, axis in zip(values, axes, strict=True)
        )
        batch = mapped(chunk.batch, lambda _: next(each))
        return per_example(lambda *args, **kwargs: functional_call(model, at, args, kwargs), batch).sum()

    with twice_differentiable():
        gradients, losses = vmap(grad_and_value(loss), in_dims=(None, *axes), randomness="different")(point, *tensors)
    for name, gradient in gradients.items():
        consume(name, Dense(gradient))
    return losses


def _kept(tensors: list[Tensor], tensor: Tensor) -> Tensor:
    tensors.append(tensor)
    return tensor
