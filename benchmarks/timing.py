"""Time candidates against a reference so that the ratio survives a noisy machine.

One thread; candidates are called in turn, once per round; the figure is CPU time of this process (with a GPU: wall
time, synchronised); a ratio is the median over rounds of candidate / reference *within the round*.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def seconds(work: Callable[[], object], device: str) -> float:
    """The time of one call."""
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def round_robin(
    candidates: Mapping[str, Callable[[], object]],
    reference: str,
    *,
    rounds: int = 5,
    device: str = "cpu",
    warm_up: bool = True,
) -> dict[str, dict[str, float]]:
    """Median, quartiles and ratio of every candidate, the reference among them; one unmeasured round first.

    ``warm_up=False`` leaves that one out, where a call takes so long that its first is like the others.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(rounds + warm_up):
        for name, work in candidates.items():
            spent = seconds(work, device)
            if round_number or not warm_up:
                times[name].append(spent)
    return {name: _summary(spent, times[reference]) for name, spent in times.items()}


def _summary(spent: list[float], reference: list[float]) -> dict[str, float]:
    ratios = [a / b for a, b in zip(spent, reference, strict=True)]
    low, _, high = _quartiles(ratios)
    first, _, third = _quartiles(spent)
    return {
        "median_ms": 1e3 * statistics.median(spent),
        "iqr_ms": 1e3 * (third - first),
        "ratio": statistics.median(ratios),
        "ratio_low": low,
        "ratio_high": high,
        "rounds": len(spent),
    }


def _quartiles(values: list[float]) -> list[float]:
    return values * 3 if len(values) == 1 else statistics.quantiles(values, n=4, method="inclusive")


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the numbers depend on."""
    processor = torch.cuda.get_device_name() if device != "cpu" else _processor()
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": device,
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def record(name: str, results: Mapping[str, Mapping[str, float]], **setting: object) -> None:
    """Print the results, and append one JSON line each to ``results/<name>.jsonl``."""
    keep(name, [{"candidate": candidate, **setting, **figures} for candidate, figures in results.items()])
    for candidate, figures in results.items():
        spread = f"[{figures['ratio_low']:.2f}-{figures['ratio_high']:.2f}]"
        print(f"{candidate:32s} {figures['median_ms']:10.1f} ms   x{figures['ratio']:.2f} {spread}")
    sys.stdout.flush()


def keep(name: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Append rows to ``results/<name>.jsonl``, with the machine and the time."""
    RESULTS.mkdir(exist_ok=True)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with (RESULTS / f"{name}.jsonl").open("a") as stream:
        for row in rows:
            here = machine(str(row.get("device", "cpu")))
            stream.write(json.dumps({"benchmark": name, **row, "machine": here, "time": stamp}) + "\n")
