"""How long the networks of finished runs take, measured when the runs are over and the machine is quiet."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from time import perf_counter

import torch
from torch import Tensor, nn

from flowprune import data
from flowprune.core.errors import invalid
from flowprune.core.files import write_json
from flowprune.experiments.folder import LATENCY, RunFolder
from flowprune.experiments.parts import build_model
from flowprune.experiments.pruned import load_pruned

BATCH = 64
REPEATS = 30
WARMUP = 3


def measure(folders: Iterable[RunFolder], *, batch: int = BATCH, repeats: int = REPEATS) -> None:
    """Write ``latency.json`` into each finished run folder that has none, or a damaged one.

    The dense and the pruned network take turns in one process, so that whatever else the machine does hits both.

    Raises:
        ValueError: fewer than two repeats, or an empty batch.
    """
    if batch < 1 or repeats < 2:
        raise invalid("measure(batch=, repeats=)", "at least 1 and 2", (batch, repeats))
    before = torch.get_num_threads()
    try:
        for folder in folders:
            if folder.finished and folder.latency is None:
                _measure(folder, batch, repeats)
    finally:
        torch.set_num_threads(before)


def _measure(folder: RunFolder, batch: int, repeats: int) -> None:
    spec = folder.spec
    dataset = data.build(spec.data.name, **spec.data.options).to(spec.device)
    torch.set_num_threads(spec.threads)
    dense = build_model(spec, dataset).eval()
    pruned = load_pruned(dense, folder.path).eval()
    inputs = dataset.inputs("test")[:batch]
    times, times_dense = compare((pruned, dense), inputs, repeats)
    ends = (statistics.median(times), statistics.median(times_dense), spread(times), spread(times_dense))
    write_json(folder.path / "latency.json", dict(zip(LATENCY, (*ends, len(inputs), spec.threads), strict=True)))


@torch.inference_mode()
def compare(models: Sequence[nn.Module], inputs: Tensor, repeats: int) -> list[list[float]]:
    """Times of one forward pass of each model, in milliseconds, taken in turns after a warm-up.

    In turns, which :func:`flowprune.structure.latency` does not do: it times one model, all passes in a row.

    Example:
        >>> [len(times) for times in compare([nn.Identity(), nn.ReLU()], torch.zeros(1), 3)]
        [3, 3]
    """
    times: list[list[float]] = [[] for _ in models]
    for repeat in range(-WARMUP, repeats):
        for model, kept in zip(models, times, strict=True):
            began = perf_counter()
            model(inputs)
            if inputs.is_cuda:
                torch.cuda.synchronize()
            if repeat >= 0:
                kept.append(1e3 * (perf_counter() - began))
    return times


def spread(times: Sequence[float]) -> float:
    """The interquartile range.

    Example:
        >>> spread([1.0, 2.0, 3.0, 4.0, 5.0])
        2.0
    """
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return high - low
