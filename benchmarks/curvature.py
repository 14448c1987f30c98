"""What a diagonal curvature and per-example gradients cost, as a multiple of forward + backward over the same batch.

    python benchmarks/curvature.py --model vgg11_plain --batch 100 [--only ggn "C + 1 backward passes"]

Beside ours, where they can be imported: BackPACK's exact diagonal, its Monte-Carlo one, and its sum of squared
per-example gradients; and the loop over examples that everybody writes first. ``C + 1 backward passes`` is one
forward, and a backward to all parameters from each output and from the loss: what the number of passes alone would
cost. All exact diagonals are compared before they are timed. Memory is measured in processes of their own (--peaks).
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import subprocess
import sys

import torch
from timing import keep, record, round_robin
from torch import nn

from flowprune.models import build
from flowprune.objectives import cross_entropy
from flowprune.signals import Curvature, gather

REFERENCE = "forward + backward"
PEAKS = (REFERENCE, "ggn", "ggn within 256 MiB", "fisher_mc", "empirical", "hutchinson")


def candidates(model, batch):
    model.eval()
    objective, parameters = cross_entropy(), list(model.parameters())
    x, y = batch

    def reference():
        return torch.autograd.grad(objective(model, batch), parameters)

    def passes():
        outputs = model(x)
        for k in range(outputs.shape[1]):
            torch.autograd.grad(outputs[:, k].sum(), parameters, retain_graph=True)
        return torch.autograd.grad(nn.functional.cross_entropy(outputs, y), parameters)

    def loop():
        total = [torch.zeros_like(p) for p in parameters]
        for i in range(len(x)):
            gradient = torch.autograd.grad(objective(model, (x[i : i + 1], y[i : i + 1])), parameters)
            for sum_, g in zip(total, gradient, strict=True):
                sum_.addcmul_(g, g, value=1 / len(x))
        return total

    def exact_loop():
        total = [torch.zeros_like(p) for p in parameters]
        for i in range(len(x)):
            logp = torch.log_softmax(model(x[i : i + 1])[0], 0)
            for entry in logp:
                root = entry.exp().detach().sqrt() * entry
                gradient = torch.autograd.grad(root, parameters, retain_graph=True)
                for sum_, g in zip(total, gradient, strict=True):
                    sum_.addcmul_(g, g, value=1 / len(x))
        return total

    def ours(kind, **options):
        asked = Curvature(kind, **options)
        return lambda: list(gather(model, objective, [batch], needs="curvature", curvature=asked).curvature.values())

    return {
        REFERENCE: reference,
        "C + 1 backward passes": passes,
        "ggn": ours("ggn"),
        "ggn within 256 MiB": ours("ggn", memory="256MiB"),
        "ggn, loop over examples and classes": exact_loop,
        "fisher_mc": ours("fisher_mc"),
        "hutchinson": ours("hutchinson"),
        "empirical": ours("empirical"),
        "empirical, loop over examples": loop,
        **backpacks(model, batch),
    }


def backpacks(model, batch):
    """BackPACK's ways, on a copy of the model: it needs a ReLU module of its own at each place, and none in place."""
    try:
        from backpack import backpack, extend, extensions
    except ImportError:
        return {}
    if not hasattr(model, "features"):
        return {}  # its converter of other modules fails
    plain = extend(sequential(model))
    loss = extend(nn.CrossEntropyLoss())

    def run(extension, field, scale=1.0):
        def work():
            plain.zero_grad()
            with backpack(extension):
                loss(plain(batch[0]), batch[1]).backward()
            return [getattr(p, field) * scale for p in plain.parameters()]

        return work

    n = len(batch[0])
    return {
        "BackPACK DiagGGNExact": run(extensions.DiagGGNExact(), "diag_ggn_exact"),
        "BackPACK DiagGGNMC": run(extensions.DiagGGNMC(), "diag_ggn_mc"),
        "BackPACK SumGradSquared": run(extensions.SumGradSquared(), "sum_grad_squared", n),  # of losses / n
    }


def sequential(model):
    """A VGG as one ``nn.Sequential`` of fresh modules with the same weights."""
    layers = []
    for module in model.modules():
        if not list(module.children()):
            one = copy.deepcopy(module)
            if isinstance(one, nn.ReLU):
                one.inplace = False
            if isinstance(one, nn.Linear) and not any(isinstance(layer, nn.Linear) for layer in layers):
                layers.append(nn.Flatten())
            layers.append(one)
    return nn.Sequential(*[layer for layer in layers if not isinstance(layer, nn.Identity)]).eval()


def compare(work):
    """Raise unless the exact ways agree."""
    groups = (
        ("ggn", "ggn within 256 MiB", "ggn, loop over examples and classes", "BackPACK DiagGGNExact"),
        ("empirical", "empirical, loop over examples", "BackPACK SumGradSquared"),
    )
    for first, *others in groups:
        expected = work[first]()
        for name in others:
            if name not in work:
                continue
            for found, value in zip(work[name](), expected, strict=True):
                error = float((found - value).norm() / value.norm())
                assert error < 1e-3, (first, name, error)
            print("equal to 1e-3:", first, "=", name)


def peak(chosen):
    """MiB that one candidate takes beyond what the process has when the model and the batch are there."""
    model, batch = subject(chosen)
    work = candidates(model, batch)[chosen.peak]
    gather(model, cross_entropy(), [tuple(t[:1] for t in batch)], needs="gradient")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def peaks(chosen):
    rows = []
    for name in PEAKS:
        call = [sys.executable, __file__, "--model", chosen.model, "--batch", str(chosen.batch), "--peak", name]
        out = subprocess.run(call, capture_output=True, text=True, check=True).stdout
        rows.append({"candidate": name, "model": chosen.model, "batch": chosen.batch, "peak_mib": float(out)})
        print(rows[-1])
    keep("curvature_memory", rows)


def subject(chosen):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build(chosen.model, num_classes=10)
    return model, (torch.randn(chosen.batch, 3, 32, 32), torch.randint(10, (chosen.batch,)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vgg11_plain")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--peak", help="print the memory of one candidate")
    parser.add_argument("--peaks", action="store_true", help="record the memory of each, in processes of their own")
    chosen = parser.parse_args()
    if chosen.peak:
        return peak(chosen)
    if chosen.peaks:
        return peaks(chosen)
    model, batch = subject(chosen)
    work = candidates(model, batch)
    if chosen.only:
        work = {name: work[name] for name in [REFERENCE, *chosen.only]}
    else:
        compare(work)
    results = round_robin(work, REFERENCE, rounds=chosen.rounds)
    setting = {"model": chosen.model, "batch": chosen.batch}
    return record("curvature", results, **setting)


if __name__ == "__main__":
    main()
