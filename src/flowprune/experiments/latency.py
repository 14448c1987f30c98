"""How long the networks of finished runs take, measured when the runs are over and the machine is quiet."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from time import perf_counter

import torch
from torch import Tensor, nn

from flowprune import data
from flowprune.core.errors import invalid
from flowprune.experiments.files import write_json
from flowprune.experiments.folder import RunFolder
from flowprune.experiments.parts import build_model
from flowprune.experiments.spec import Spec
from flowprune.experiments.state import shrink
from flowprune.masks import Masks, apply

BATCH = 64
REPEATS = 30


def measure(folders: Iterable[RunFolder], *, batch: int = BATCH, repeats: int = REPEATS) -> None:
    """Write ``latency.json`` into each finished run folder that has none.

    The dense and the pruned network take turns in one process, so that whatever else the machine does hits both.

    Raises:
        ValueError: fewer than two repeats, or an empty batch.
    """
    if batch < 1 or repeats < 2:
        raise invalid("measure(batch=, repeats=)", "at least 1 and 2", (batch, repeats))
    before = torch.get_num_threads()
    try:
        for folder in folders:
            if folder.finished and not (folder.path / "latency.json").exists():
                _measure(folder, batch, repeats)
    finally:
        torch.set_num_threads(before)


def _measure(folder: RunFolder, batch: int, repeats: int) -> None:
    spec = folder.spec
    torch.set_num_threads(spec.threads)
    dataset = data.build(spec.data.name, **spec.data.options).to(spec.device)
    dense = build_model(spec, dataset).eval()
    pruned = rebuild(folder, spec, build_model(spec, dataset)).eval()
    inputs = dataset.inputs("test")[:batch]
    times, times_dense = compare((pruned, dense), inputs, repeats)
    write_json(
        folder.path / "latency.json",
        {
            "latency_ms": statistics.median(times),
            "latency_ms_dense": statistics.median(times_dense),
            "latency_iqr_ms": spread(times),
            "latency_iqr_ms_dense": spread(times_dense),
            "latency_batch": len(inputs),
            "latency_threads": spec.threads,
        },
    )


def rebuild(folder: RunFolder, spec: Spec, dense: nn.Module) -> nn.Module:
    """The network a run ended with, made from its dense one in place: cut to the masks, then loaded.

    Raises:
        PruningError: the masks are damaged or of another model.
    """
    from safetensors.torch import load_file

    if spec.prune is not None:
        masks = Masks.load(folder.path / "masks.safetensors")
        if masks.layout:
            shrink(dense, masks)
        else:
            apply(dense, masks)
    dense.load_state_dict(load_file(folder.path / "model.safetensors"))
    return dense


@torch.inference_mode()
def compare(models: Sequence[nn.Module], inputs: Tensor, repeats: int) -> list[list[float]]:
    """Times of one forward pass of each model, in milliseconds, taken in turns after a warm-up.

    Example:
        >>> [len(times) for times in compare([nn.Identity(), nn.ReLU()], torch.zeros(1), 3)]
        [3, 3]
    """
    times: list[list[float]] = [[] for _ in models]
    for repeat in range(-3, repeats):
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
