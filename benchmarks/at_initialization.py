"""What pruning at initialization costs: many rounds of SynFlow and of magnitude, and SNIP beside one pass.

    python benchmarks/at_initialization.py synflow|magnitude|snip|memory [--rounds 100] [--repeats 3] [--model vgg16]

synflow    ``fp.prune(recipe="synflow")`` beside a literal version of the published code: in every round the absolute
           value of every entry of the state dict, a pass forward and back, scores of all weights in one vector, the
           k-th value of it, masks. Both in float64 with exact counts, and their masks must be equal to the bit.
magnitude  ``fp.prune(measure="magnitude")`` in as many rounds, beside the same literal loop without the passes.
snip       ``fp.prune(recipe="snip")`` as a multiple of one pass forward and back of the batch that it scores.
memory     The growth of a fresh process's peak memory during SynFlow, engine and literal version each.

Biases are zero before pruning, as they are in the networks of the published code: with them its scores and those of
``fp.objectives.synaptic_flow()`` are the same numbers. In ResNet-18 at initialization nearly all flow goes around the
shortcuts that are convolutions, and SynFlow empties one at a sparsity of 0.22, which the engine refuses; there both
keep the best weight of each layer (``floor=0.0``).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import torch
from timing import keep, record, round_robin

import flowprune as fp
from flowprune.models import build

DENSITIES = (0.1, 0.01)
ORDERS = {"vgg13": {"order": "conv_bn_relu"}, "vgg16": {"order": "conv_bn_relu"}}


FLOORS = {"resnet18": 0.0}


def subject(name):
    """A network at initialization without biases, in evaluation mode."""
    torch.manual_seed(0)
    model = build(name, num_classes=10, **ORDERS.get(name, {})).eval()
    with torch.no_grad():
        for key, param in model.named_parameters():
            if key.endswith("bias"):
                param.zero_()
    return model


def targets(sparsity, rounds):
    """The fraction removed after each round; the same numbers as the engine is given."""
    return fp.schedules.exponential(rounds=rounds).targets(sparsity)


def literal(model, score, sparsities, floor=None):
    """Rounds over everything: score, concatenate, k-th value, masks, multiply."""
    model = deepcopy(model)
    weights = [(name, param) for name, param in model.named_parameters() if param.ndim >= 2]
    masks = {name: torch.ones_like(param) for name, param in weights}
    total = sum(param.numel() for _, param in weights)
    for sparsity in sparsities:
        scores = score(model, dict(weights))
        dead = [scores[name].masked_fill(masks[name] == 0, float("-inf")) for name, _ in weights]
        if floor is not None:
            for part in dead:
                part.view(-1)[part.argmax()] = float("inf")
        flat = torch.cat([part.flatten() for part in dead])
        remove = round(sparsity * total)
        if remove:
            threshold, _ = torch.kthvalue(flat, remove)
            kept = flat > threshold
            tied = (flat == threshold).nonzero().flatten()  # ties stay by position, until the count is exact
            kept[tied[: total - remove - int(kept.sum())]] = True
            for (name, param), part in zip(weights, kept.split([p.numel() for _, p in weights]), strict=True):
                masks[name] = part.view_as(param).to(param.dtype)
        with torch.no_grad():
            for name, param in weights:
                param.mul_(masks[name])
    return {name: mask.bool() for name, mask in masks.items()}


def synaptic_flow(shape):
    """The scores of the published code, of a model in float64."""

    def score(model, weights):
        state = model.state_dict()
        with torch.no_grad():
            signs = {name: torch.sign(tensor) for name, tensor in state.items()}
            for tensor in state.values():
                tensor.abs_()
        model.zero_grad()
        model(torch.ones(shape, dtype=torch.float64)).sum().backward()
        scores = {name: torch.clone(param.grad * param).detach().abs_() for name, param in weights.items()}
        with torch.no_grad():
            for name, tensor in state.items():
                tensor.mul_(signs[name])
        return scores

    return score


def size(model, weights):
    """The scores of magnitude."""
    del model
    return {name: param.detach().abs() for name, param in weights.items()}


def engine(model, sparsity, rounds, **method):
    """The masks of ``fp.prune``, with nothing diagnosed and nothing timed."""
    schedule = fp.schedules.exponential(rounds=rounds)
    result = fp.prune(model, sparsity=sparsity, schedule=schedule, diagnose=False, batch_sizes=(), **method)
    return result.masks


def both(name, density, rounds):
    """SynFlow by the engine and by the literal version, as calls without arguments."""
    model, x = subject(name), torch.zeros(1, 3, 32, 32)
    kept = {"floor": FLOORS[name]} if name in FLOORS else {}
    double, sparsities = deepcopy(model).double(), targets(1 - density, rounds)
    return {
        "literal": lambda: literal(double, synaptic_flow(x.shape), sparsities, FLOORS.get(name)),
        "engine": lambda: engine(model, 1 - density, rounds, recipe="synflow", batches=[(x, None)], **kept),
    }


def same(work):
    """The same work; each call's masks must be those of the first call of any of it."""
    first = {}

    def checked(call):
        def run():
            masks = call()
            expected = first.setdefault("masks", masks)
            if any(not torch.equal(masks[name], expected[name]) for name in expected):
                raise AssertionError("the masks of the engine must be those of the literal version")

        return run

    return {name: checked(call) for name, call in work.items()}


def warm_up():
    """Whatever is imported and allocated by a first call."""
    for call in both("resnet20", 0.5, 2).values():
        call()


def compared(benchmark, work, repeats, **setting):
    warm_up()
    results = round_robin(same(work), "literal", rounds=repeats, warm_up=False)
    for figures in results.values():
        figures["speedup"] = 1 / figures["ratio"]
    print(setting)
    record(benchmark, results, **setting)


def synflow(chosen):
    for name in chosen.model or ("vgg16", "resnet18"):
        for density in chosen.density or DENSITIES:
            work = both(name, density, chosen.rounds)
            compared("synflow", work, chosen.repeats, model=name, density=density, rounds_of_pruning=chosen.rounds)


def magnitude(chosen):
    for name in chosen.model or ("vgg13",):
        for density in chosen.density or (0.1,):
            model, sparsities = subject(name), targets(1 - density, chosen.rounds)
            work = {
                "literal": lambda model=model, sparsities=sparsities: literal(model, size, sparsities),
                "engine": lambda model=model, density=density: engine(
                    model, 1 - density, chosen.rounds, measure="magnitude"
                ),
            }
            setting = {"model": name, "density": density, "rounds_of_pruning": chosen.rounds}
            compared("magnitude_rounds", work, chosen.repeats, **setting)


def snip(chosen):
    for name in chosen.model or ("resnet20", "vgg16"):
        model, objective = subject(name).train(), fp.objectives.cross_entropy()
        batch = (torch.randn(chosen.batch, 3, 32, 32), torch.randint(0, 10, (chosen.batch,)))
        params = list(model.parameters())

        def passes(model=model, params=params, batch=batch, objective=objective):
            return torch.autograd.grad(objective(model, batch), params)

        def prune(model=model, batch=batch):
            return engine(model, 0.9, 1, recipe="snip", objective=fp.objectives.cross_entropy(), batches=[batch])

        work = {"forward and backward": passes, "prune, snip": prune}
        results = round_robin(work, "forward and backward", rounds=chosen.repeats)
        record("snip", results, model=name, batch=chosen.batch)


MEMORY = """
import re, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from at_initialization import both, warm_up
def peak():  # of this program alone; ru_maxrss would remember the one that started it
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
name, density, rounds, which = sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
warm_up()
work = both(name, density, rounds)[which]
before = peak()
work()
print((peak() - before) / 2**20)
"""


def memory(chosen):
    """Mebibytes, in a process of its own each. Most is held in the first rounds, so a few tell it."""
    for name in chosen.model or ("vgg16", "resnet18"):
        rows = []
        for which in ("literal", "engine"):
            asked = [str(Path(__file__).parent), name, "0.1", str(min(chosen.rounds, 5)), which]
            run = subprocess.run([sys.executable, "-c", MEMORY, *asked], check=True, capture_output=True, text=True)
            rows.append({"candidate": which, "model": name, "extra_mib": round(float(run.stdout), 1)})
            print(rows[-1])
        keep("synflow_memory", rows)


def main():
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("synflow", "magnitude", "snip", "memory"))
    parser.add_argument("--rounds", type=int, default=100, help="of pruning; fewer for a quick look")
    parser.add_argument("--repeats", type=int, default=3, help="of the whole, interleaved")
    parser.add_argument("--model", nargs="*")
    parser.add_argument("--density", nargs="*", type=float)
    parser.add_argument("--batch", type=int, default=128, help="of snip")
    chosen = parser.parse_args()
    {"synflow": synflow, "magnitude": magnitude, "snip": snip, "memory": memory}[chosen.what](chosen)


if __name__ == "__main__":
    main()
