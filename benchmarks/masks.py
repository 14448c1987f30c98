"""What selection, masked training and exact norms cost.

    python benchmarks/masks.py selection|step|norm

selection  nanoseconds per score of ``fp.select`` (threshold, ties and mask writing), beside ``torch.topk`` and
           ``torch.sort``; peak extra memory in units of the scores.
step       one SGD step of a masked model as a multiple of the dense step at the same batch.
norm       relative error of the squared norm of 10^8 float32 entries.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from copy import deepcopy

import numpy as np
import torch
from timing import record, round_robin

import flowprune as fp
from flowprune.core.tensors import squared_norm
from flowprune.models import build


def selection(sizes=(10**7, 10**8), rounds=5):
    for n in sizes:
        flat = torch.randn(n)
        scores = {f"layer{i}": part.clone() for i, part in enumerate(flat.split(n // 10))}
        tied = {name: (part > 0).float() for name, part in scores.items()}
        work = {
            "compare once": lambda flat=flat: np.greater_equal(flat.numpy(), 1.0),
            "select 90 %": lambda scores=scores: fp.select(scores, 0.9),
            "select 90 %, half tied": lambda tied=tied: fp.select(tied, 0.9),
        }
        if n <= 10**7:
            work["torch.topk + mask"] = lambda flat=flat, n=n: flat >= torch.topk(flat, n // 10).values[-1]
            work["torch.sort + mask"] = lambda flat=flat, n=n: flat >= flat.sort().values[9 * n // 10]
        results = round_robin(work, "compare once", rounds=rounds)
        for figures in results.values():
            figures["ns_per_score"] = 1e6 * figures["median_ms"] / n
        record("selection", results, n=n, extra_memory=_extra_memory(n))
        for name, figures in results.items():
            print(f"  {name}: {figures['ns_per_score']:.2f} ns per score")


MEMORY = """
import re, sys, torch, flowprune as fp
def peak():  # of this program alone; ru_maxrss would remember the one that started it
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
n = int(sys.argv[1])
scores = {f"layer{i}": torch.randn(n // 10) for i in range(10)}
fp.select({name: score[:1000] for name, score in scores.items()}, 0.9)
before = peak()
masks = fp.select(scores, 0.9)
print((peak() - before) / (4 * n))
"""


def _extra_memory(n):
    """Growth of a fresh process's peak memory during one selection, in units of the scores' bytes; masks are 0.25."""
    run = subprocess.run([sys.executable, "-c", MEMORY, str(n)], check=True, capture_output=True, text=True)
    return round(float(run.stdout), 3)


def step(models=(("resnet56", 128), ("vgg13", 128), ("resnet56", 16)), rounds=21):
    for name, batch in models:
        torch.manual_seed(0)
        dense = build(name, num_classes=10)
        masked = deepcopy(dense)
        signals = fp.gather(masked, fp.objectives.cross_entropy(), (), needs=())
        fp.apply(masked, fp.select(fp.score("magnitude", signals), 0.9))
        x, y = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))

        def stepper(model, x=x, y=y):
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)

            def one():
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()

            return one

        results = round_robin(
            {"dense step": stepper(dense), "masked step": stepper(masked)}, "dense step", rounds=rounds
        )
        record("masked_step", results, model=name, batch=batch, sparsity=0.9)


def norm():
    x = torch.full((10**8,), 0.1)
    exact = 10**8 * float(torch.tensor(0.1).double() ** 2)
    results = round_robin(
        {"Tensor.norm": lambda: float(x.norm()) ** 2, "squared_norm": lambda: squared_norm([x])},
        "Tensor.norm",
        rounds=3,
    )
    results["Tensor.norm"]["relative_error"] = float(x.norm()) ** 2 / exact - 1
    results["squared_norm"]["relative_error"] = squared_norm([x]) / exact - 1
    record("norm", results, n=10**8)
    for name, figures in results.items():
        print(f"  {name}: relative error {figures['relative_error']:.1e}")


def main():
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("selection", "step", "norm"))
    {"selection": selection, "step": step, "norm": norm}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
