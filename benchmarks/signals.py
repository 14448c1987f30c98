"""What each signal costs, as a multiple of forward + backward over the same batches.

    python benchmarks/signals.py --model resnet56 --batch 64 [--keep-memory] [--device cuda]

``reference`` is one forward and one ``autograd.grad`` per batch. ``two_graphs`` is how H g is usually had: a gradient
sweep, then a sweep that builds a graph of the gradient and differentiates its product with g.
"""

from __future__ import annotations

import argparse

import torch
from timing import record, round_robin

from flowprune.models import build
from flowprune.objectives import cross_entropy
from flowprune.signals import gather
from flowprune.signals.allocator import keep_memory


def candidates(model, batches):
    model.eval()
    objective, parameters = cross_entropy(), list(model.parameters())

    def reference():
        return [torch.autograd.grad(objective(model, batch), parameters) for batch in batches]

    def two_graphs():
        g = [torch.stack(parts).mean(0) for parts in zip(*reference(), strict=True)]
        total = [torch.zeros_like(p) for p in parameters]
        for batch in batches:
            per_batch = torch.autograd.grad(objective(model, batch), parameters, create_graph=True)
            product = sum((a * b).sum() for a, b in zip(per_batch, g, strict=True))
            torch._foreach_add_(total, torch.autograd.grad(product, parameters))
        return total

    def needing(*needs):
        return lambda: gather(model, objective, batches, needs=needs)

    return {
        "reference": reference,
        "parameters": needing(),
        "gradient": needing("gradient"),
        "minibatch_fisher": needing("minibatch_fisher"),
        "activations": needing("activations"),
        "hessian_gradient": needing("hessian_gradient"),
        "two_graphs": two_graphs,
        "fisher": needing("fisher"),
        "all_measures": needing("gradient", "hessian_gradient", "minibatch_fisher"),
        "with per-example Fisher": needing("gradient", "hessian_gradient", "minibatch_fisher", "fisher"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--keep-memory", action="store_true", help="the allocator switch of flowprune.signals")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    kept = chosen.keep_memory and keep_memory()
    model = build(chosen.model, num_classes=10).to(chosen.device)
    shape = (chosen.batch, 3, 32, 32)
    batches = [
        (torch.randn(shape, device=chosen.device), torch.randint(10, (chosen.batch,), device=chosen.device))
        for _ in range(chosen.batches)
    ]
    work = candidates(model, batches)
    if chosen.only:
        work = {name: work[name] for name in ["reference", *chosen.only]}
    results = round_robin(work, "reference", rounds=chosen.rounds, device=chosen.device)
    setting = {"model": chosen.model, "batch": chosen.batch, "batches": chosen.batches, "keep_memory": kept}
    print(setting)
    record("signals", results, device=chosen.device, **setting)


if __name__ == "__main__":
    main()
