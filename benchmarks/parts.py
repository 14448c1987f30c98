"""What it is worth that examples which take little go through a model together: H·g, Fisher and Gauss-Newton.

    python benchmarks/parts.py [--batch 500]

As a multiple of forward + backward over the same batch; each signal as it is by default, and in the parts in which
examples that take much go through, 32 for H·g and 64 for the others.
"""

from __future__ import annotations

import argparse

import torch
from timing import record, round_robin

from flowprune.models import build
from flowprune.objectives import cross_entropy
from flowprune.signals import gather
from flowprune.signals.parts import LEAST, LEAST_TWICE

SIGNALS = {"hessian_gradient": LEAST_TWICE, "fisher": LEAST, "curvature": LEAST}
MODELS = {
    "mlp 784-300-100": ("mlp", {"in_features": 784, "widths": (300, 100), "activation": "tanh"}, (1, 28, 28)),
    "digits_convnet": ("digits_convnet", {}, (1, 8, 8)),
    "resnet20": ("resnet20", {}, (3, 32, 32)),
}


def candidates(model, batch):
    model.eval()
    objective, parameters = cross_entropy(), list(model.parameters())

    def needing(need, micro_batch):
        return lambda: gather(model, objective, [batch], needs=(need,), micro_batch=micro_batch)

    found = {"reference": lambda: torch.autograd.grad(objective(model, batch), parameters)}
    for need, few in SIGNALS.items():
        found |= {need: needing(need, None), f"{need}, {few} at a time": needing(need, few)}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name, (model, options, shape) in MODELS.items():
        torch.manual_seed(0)
        batch = torch.randn(chosen.batch, *shape), torch.randint(10, (chosen.batch,))
        results = round_robin(candidates(build(model, **options), batch), "reference", rounds=chosen.rounds)
        print(f"{name}, batch {chosen.batch}")
        record("parts", results, model=name, batch=chosen.batch)


if __name__ == "__main__":
    main()
