"""How long a forward pass takes, measured."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
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
        ValueError: ``repeats`` or ``threads`` is below 1, ``warmup`` below 0, or ``model`` is no module.
        PruningError: the model cannot be copied.

    Example:
        >>> latency(nn.Linear(2, 2), torch.ones(4, 2), repeats=3).batch
        4
    """
    check_repeats("latency", repeats, threads, warmup)
    example = Example.of(example_inputs, "latency").copied()
    twin = duplicate(require_model("latency", model), "latency").eval()
    with random_state_kept(model), threads_of(threads) as used:
        times = in_turns((twin,), example, warmup, repeats, where="latency")[0]
    return summary(times, batch_size(example), used)


def check_repeats(where: str, repeats: int, threads: int | None = None, warmup: int = 0) -> None:
    """Raise where there would be nothing to measure.

    Raises:
        ValueError: ``repeats`` or ``threads`` is no whole number from 1, or ``warmup`` none from 0.
    """
    for name, value, least in (("repeats", repeats, 1), ("threads", threads, 1), ("warmup", warmup, 0)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise invalid(f"{where}({name}=)", f"a whole number >= {least}", value)


@contextmanager
def threads_of(count: int | None) -> Generator[int]:
    """Within the block PyTorch uses ``count`` threads, or as many as before; after it as many as before."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count or before)
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def in_turns(
    models: Sequence[nn.Module], example: Example, warmup: int, repeats: int, *, where: str
) -> list[list[float]]:
    """Seconds of each pass of each model, one list a model.

    The models take turns, and every other round goes backwards: what else the machine does meanwhile, and which model
    found the caches warm, weighs on all alike.
    """
    times: list[list[float]] = [[] for _ in models]
    for turn in range(-warmup, repeats):
        order = range(len(models)) if turn % 2 == 0 else reversed(range(len(models)))
        for index in order:
            taken = _pass(models[index], example, where)
            if turn >= 0:
                times[index].append(taken)
    return times


def summary(times: Sequence[float], batch: int, threads: int) -> Latency:
    """The median and the quartiles' distance of some seconds, in milliseconds."""
    low, median, high = quartiles([1e3 * each for each in times])
    return Latency(median, high - low, batch, threads, len(times))


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile, interpolated.

    Example:
        >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
        (2.0, 3.0, 4.0)
    """
    cuts = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, median, high = torch.quantile(torch.tensor(values, dtype=torch.float64), cuts).tolist()
    return low, median, high


def _pass(model: nn.Module, example: Example, where: str) -> float:
    cuda = any(tensor.is_cuda for tensor in example.tensors)
    with torch.inference_mode():
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        example.call(model, where)
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start
