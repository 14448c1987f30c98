"""The statistics of batch norms, estimated anew on data: after a cut they describe activations that are gone."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid
from flowprune.core.tensors import require_finite
from flowprune.objectives.batch import arguments, inputs_of
from flowprune.signals.as_found import as_found
from flowprune.signals.batches import read


def recalibrate(model: nn.Module, batches: Iterable[Any]) -> tuple[str, ...]:
    """Estimate the running means and variances of all batch norms on data, in place; nothing else changes.

    Formula: mean and unbiased variance, per channel, of all values that reach the layer over all batches, pooled
    exactly and in double precision, so batches of different sizes count by their size. Each batch is normalised by its
    own statistics on its way to the next layer, as in training; everything but batch norms is in evaluation mode.

    Cost: one forward pass per batch, without gradients.

    Args:
        model: Its batch norms are changed; weights, gradients, modes, momenta and the random state are as before.
        batches: As for ``fp.gather``; a batch may also be the bare input tensor. Targets are not looked at. A few
            hundred training examples are enough: the error falls with the square root of their number.

    Returns:
        The names of the layers that were estimated; one that the forward pass does not reach is left as it was.

    Raises:
        ValueError: no batch norm with running statistics, no batches, one with a single value per channel, or
            statistics that are not finite. Nothing is changed then.

    Source: cumulative statistics over a fixed model, Wu and Johnson (2021), arXiv:2105.07576.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(1))
        >>> recalibrate(model, [torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0], [9.0]])])
        ('0',)
        >>> model[0].running_mean, model[0].running_var
        (tensor([3.]), tensor([12.5000]))
    """
    layers = _layers(require_model("recalibrate", model))
    moments = {name: _Moments() for name in layers}
    with as_found(model, "eval"), torch.no_grad(), _watched(layers, moments):
        for counted in read(batches, model, where="recalibrate"):
            args, kwargs = arguments(_inputs(counted.batch))
            try:
                model(*args, **kwargs)
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):
                    raise
                todo = "Leave it out: DataLoader(..., drop_last=True)."
                got = f"one example in batch {counted.index}"
                raise invalid("recalibrate(batches=)", "of two values per channel or more", got, todo) from None
    seen = {name: each for name, each in moments.items() if each.calls}
    for name, each in seen.items():
        require_finite("recalibrate(batches=)", {f"mean of {name}": each.mean, f"variance of {name}": each.variance})
    for name, each in seen.items():
        each.write_(layers[name])
    return tuple(seen)


class _Moments:
    """Count, mean and sum of squared deviations of the values seen so far, by channel."""

    def __init__(self) -> None:
        self.calls = self.count = 0
        self.mean = self.squares = torch.zeros(())

    @property
    def variance(self) -> Tensor:
        return self.squares / (self.count - 1)

    def add(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Pool with the statistics of another sample (Chan, Golub and LeVeque 1983), which is exact."""
        exact = torch.float32 if mean.device.type == "mps" else torch.float64
        # A copy: the layer overwrites its own at the next pass.
        mean, squares = mean.to(exact, copy=True), variance.to(exact) * (count - 1)
        total, apart = self.count + count, mean - self.mean
        share = self.count * (count / total)
        self.squares = squares if not self.calls else self.squares + squares + apart.square() * share
        self.mean = mean if not self.calls else self.mean + apart * (count / total)
        self.calls, self.count = self.calls + 1, total

    def write_(self, layer: _BatchNorm) -> None:
        """Into the layer's buffers, which stay the same objects."""
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(self.mean)
        layer.running_var.copy_(self.variance)
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.fill_(self.calls)


def _layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """Batch norms that keep running statistics, by name.

    Raises:
        ValueError: there is none.
    """
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None
    }
    if not found:
        todo = "Other norms keep no statistics of data: there is nothing to recalibrate."
        raise invalid("recalibrate(model=)", "a model with batch norms that keep running statistics", "none", todo)
    return found


@contextmanager
def _watched(layers: Mapping[str, _BatchNorm], moments: Mapping[str, _Moments]) -> Generator[None]:
    """Within the block the layers are in training mode, and every pass through one is added to its moments.

    With momentum 1 the running statistics of a layer are those of the last pass: they are computed anyway.
    """
    momenta = {name: layer.momentum for name, layer in layers.items()}
    handles = [layer.register_forward_hook(_adding(moments[name])) for name, layer in layers.items()]
    try:
        for layer in layers.values():
            layer.training, layer.momentum = True, 1.0
            layer.reset_running_stats()  # 0 * NaN would stay NaN
        yield
    finally:
        for handle in handles:
            handle.remove()
        for name, layer in layers.items():
            layer.momentum = momenta[name]


def _adding(moments: _Moments) -> Any:
    def hook(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        mean, variance = getattr(layer, "running_mean"), getattr(layer, "running_var")  # noqa: B009, typed as a module
        moments.add(mean, variance, output.numel() // len(mean))

    return hook


def _inputs(batch: Any) -> Any:
    return batch if isinstance(batch, Tensor) else inputs_of(batch)
