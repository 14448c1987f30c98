"""How long a forward pass takes, measured."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid
from flowprune.structure.cost import batch_size
from flowprune.structure.example import Example
from flowprune.structure.twin import duplicate, random_state_kept


@dataclass(frozen=True)
class Latency:
    """Wall time of forward passes in evaluation mode.

    Attributes:
        median_ms: Milliseconds of the median pass.
        iqr_ms: Milliseconds between the quartiles.
        batch: Examples per pass.
        threads: Of PyTorch within an operation.
        repeats: Passes measured.
    """

    median_ms: float
    iqr_ms: float
    batch: int
    threads: int
    repeats: int


def latency(
    model: nn.Module, example_inputs: object, *, repeats: int = 20, warmup: int = 3, threads: int | None = None
) -> Latency:
    """Time forward passes in evaluation mode without gradients, of a copy; thread count and random state are kept.

    Args:
        model: Is not run itself: a copy is, where its parameters are, without hooks that are not PyTorch's own.
        example_inputs: What it is called with.
        repeats: Passes measured.
        warmup: Passes before that.
        threads: For this measurement; by default as they are.

    Raises:
        ValueError: ``repeats`` or ``threads`` is below 1, or ``model`` is no module.
        PruningError: the model cannot be copied.

    Example:
        >>> latency(nn.Linear(2, 2), torch.ones(4, 2), repeats=3).batch
        4
    """
    for name, value in (("repeats", repeats), ("threads", 1 if threads is None else threads)):
        if value < 1:
            raise invalid(f"latency({name}=)", ">= 1", value)
    example, before = Example.of(example_inputs).copied(), torch.get_num_threads()
    twin = duplicate(require_model("latency", model), "latency").eval()
    try:
        torch.set_num_threads(threads or before)
        with random_state_kept(model):
            times = [_pass(twin, example) for _ in range(warmup + repeats)][warmup:]
        used = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    quartiles = torch.quantile(torch.tensor(times, dtype=torch.float64), torch.tensor([0.25, 0.5, 0.75]).double())
    low, median, high = (float(q) * 1e3 for q in quartiles)
    return Latency(median, high - low, batch_size(example), used, repeats)


def _pass(model: nn.Module, example: Example) -> float:
    cuda = any(tensor.is_cuda for tensor in example.tensors)
    with torch.inference_mode():
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        example.call(model)
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start
