"""The memory that is given is not exceeded: measured in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import resource, sys, torch
from torch import nn
from torch.nn import functional
import flowprune as fp

torch.set_num_threads(1)
torch.manual_seed(0)
kind, limit = sys.argv[1], int(sys.argv[2]) << 20
if kind == "layers":
    layers = nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(25088, 10)
    model = nn.Sequential(*layers)
    batches = [(torch.randn(64, 3, 32, 32), torch.randint(10, (64,)))]
    objective, asked = fp.objectives.cross_entropy(), fp.Curvature("ggn", memory=limit)
elif kind == "derived":
    model, batches = nn.Linear(8, 150), [(torch.randn(64, 8), torch.randint(150, (64,)))]
    own = lambda f, b: functional.cross_entropy(f(b[0]), b[1], reduction="none")
    objective, asked = fp.objectives.Objective("own", own), fp.Curvature("fisher_mc", memory=limit)
else:
    model = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 10))
    lengths = (2, 500)
    batches = [(torch.randn(64, n, 64), torch.randint(10, (64, n))) for n in lengths]
    objective, asked = fp.objectives.cross_entropy(), fp.Curvature("fisher_mc", memory=limit)
few = [tuple(tensor[:2] for tensor in batches[0])]
fp.gather(model, objective, few, needs="curvature", curvature=fp.Curvature(asked.kind))  # loads what is loaded once
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
signals = fp.gather(model, objective, batches, needs="curvature", curvature=asked)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize(("kind", "mebibytes"), [("layers", 96), ("derived", 64), ("lengths", 96)])
def test_no_more_is_taken_than_was_given(kind, mebibytes):
    call = [sys.executable, "-c", SCRIPT, kind, str(mebibytes)]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout) <= mebibytes
