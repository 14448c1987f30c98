"""An error names the argument that was written, not that of the function it was passed on to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowprune as fp

LOSS = fp.objectives.cross_entropy()
BARE = (
    "prune(batches=): each batch must be a pair (inputs, targets) or a mapping; got 'Tensor'. "
    "Pair inputs with their targets; of one such batch, pass [batch]."
)


def net():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


@pytest.mark.parametrize(
    ("given", "begins"),
    [
        ({"sparsity": 1.5}, "prune(sparsity=) must be"),
        ({"sparsity": -0.1}, "prune(sparsity=) must be"),
        ({"sparsity": "half"}, "prune(sparsity=) must be"),
        (
            {"sparsity": 0.5, "schedule": fp.schedules.rounds(2, sparsity=0.7)},
            "prune(sparsity=) must be the schedule's",
        ),
        ({"schedule": fp.schedules.rounds(5)}, "prune(sparsity=) must be given"),
        ({"sparsity": 0.5, "granularity": fp.NM(1, 4)}, "prune(sparsity=) must be of the sparsity 0.75"),
        ({"budget": 0.5}, "prune(budget=) must be a Budget"),
        ({"budget": fp.Budget(parameters=0.5), "granularity": fp.NM(2, 4)}, "prune(budget=) must be None with nm:2:4"),
        ({"budget": fp.Budget(parameters=0.5), "schedule": fp.schedules.rounds(2, sparsity=0.5)}, "prune(schedule=)"),
        ({"sparsity": 0.99, "protect": ("0.*",)}, "prune(sparsity=) must leave what floors and protection keep"),
        ({"schedule": fp.schedules.one_shot(0.99), "protect": ("0.*",)}, "prune(schedule=) must leave"),
        ({"sparsity": 0.05, "schedule": fp.schedules.linear(20)}, "prune(schedule=) must be one of at most 2 rounds"),
        ({"sparsity": 0.5, "protect": ("nowhere",)}, "prune(protect=) has no 'nowhere'"),
        ({"sparsity": 0.5, "floor": 3}, "prune(floor=)"),
        ({"sparsity": 0.5, "scope": "galactic"}, "prune(scope=)"),
        ({"sparsity": 0.5, "bogus": 1}, "prune(...) must be given its own arguments"),
        ({"sparsity": 0.5, "measure": "fisher", "objective": fp.objectives.cross_entropy()}, "prune(batches=)"),
        ({"sparsity": 0.5, "members": "all"}, "prune(members=)"),
        ({"sparsity": 0.5, "batches": 3}, "prune(batches=) must be an iterable of batches; got 3. To use one batch, "),
        ({"sparsity": 0.5, "batches": torch.ones(2, 4)}, "prune(batches=) must be an iterable of batches; got 'one ba"),
        ({"sparsity": 0.5, "batches": [torch.ones(2, 4)]}, BARE),
        ({"sparsity": 0.5, "measure": "fisher", "objective": LOSS, "batches": [torch.ones(2, 4)]}, BARE),
        ({"sparsity": 0.5, "batches": [(torch.ones(2, 4),)]}, BARE.replace("Tensor", "tuple of 1")),
    ],
)
def test_prune_names_its_own_arguments(given, begins):
    with pytest.raises((ValueError, fp.PruningError)) as error:
        fp.prune(net(), **{"measure": "magnitude", **given})
    assert str(error.value).startswith(begins)


def test_a_pruner_names_its_own(tmp_path):
    made = {"measure": "magnitude", "granularity": fp.Weights(), "objective": None}
    with pytest.raises(ValueError, match=r"^Pruner\(floor=\)"):
        fp.Pruner(net(), None, **made, schedule=fp.schedules.one_shot(0.5), floor=3)


def test_an_export_names_its_own(tmp_path):
    with pytest.raises(ValueError, match=r"^export_program\(example_inputs=\) must be"):
        fp.export_program(net(), 3, tmp_path / "out.pt2")
    with pytest.raises(ValueError, match=r"^export_onnx\(example_inputs=\) must be|onnx"):
        fp.export_onnx(net(), torch.nn.ReLU(), tmp_path / "out.onnx")
