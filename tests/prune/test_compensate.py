"""Pruning in one call, with weights that make up for those that are cut."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import flowprune as fp
from tests.prune.networks import convnet
from tests.prune.small import examples, mlp, same


def squared(model: nn.Module, dense: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model.eval()(x) - dense.eval()(x)).square().mean())


def test_it_is_what_compensate_does_with_the_masks_of_the_result() -> None:
    model, batch = mlp(6, 20, 10, 3), examples()
    found = fp.prune(model, measure="magnitude", sparsity=0.6, batches=[batch], compensate=True)
    plain = fp.prune(model, measure="magnitude", sparsity=0.6, batches=[batch])
    assert same(found.masks, dict(plain.masks))
    assert plain.compensation is None
    twin = copy.deepcopy(model)
    record = fp.compensate(twin, plain.masks, [batch])
    assert found.compensation is not None
    assert found.compensation.layers == record.layers
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), found.model.parameters(), strict=True))
    fp.check_zeros(found.model)
    assert squared(found.model, model, batch[0]) < squared(plain.model, model, batch[0])


def test_channels_are_removed_after_it() -> None:
    model, x = convnet(), torch.randn(50, 1, 6, 6)
    units = fp.Channels(example_inputs=x[:2])
    batches = iter([(x[:25], None), (x[25:], None)])
    found = fp.prune(model, measure="magnitude", sparsity=0.4, granularity=units, batches=batches, compensate=True)
    plain = fp.prune(model, measure="magnitude", sparsity=0.4, granularity=units)
    assert [p.shape for p in found.model.parameters()] == [p.shape for p in plain.model.parameters()]
    assert squared(found.model, model, x) < 0.5 * squared(plain.model, model, x)


def test_rounds_are_made_up_for_as_one() -> None:
    """With the weights as they were before the first of them."""
    model, batch = mlp(6, 20, 10, 3), examples()
    how: dict[str, Any] = {"recipe": "iter_snip", "sparsity": 0.7, "batches": [batch], "diagnose": False}
    found, plain = fp.prune(model, **how, compensate=True), fp.prune(model, **how)
    assert len(found.cuts) > 1
    assert same(found.masks, dict(plain.masks))
    assert squared(found.model, model, batch[0]) < squared(plain.model, model, batch[0])


def test_it_comes_back_from_a_folder(tmp_path) -> None:
    model, batch = mlp(6, 20, 3), examples()
    found = fp.prune(model, measure="magnitude", sparsity=0.6, batches=[batch], compensate=True)
    loaded = fp.load(model, fp.save(found, tmp_path / "plan"))
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), found.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rescale": "layer"}, r"prune\(compensate=\) must be False with rescale='layer'; got True\."),
        ({"ablations": ("reinitialize",)}, r"prune\(compensate=\) must be False with ablations=\('reinitialize',\)"),
        ({"batches": ()}, r"prune\(batches=\) must be given, because compensate=True runs the model; got 'none'"),
        ({"compensate": 0.1}, r"prune\(compensate=\) must be True or False; got 0\.1\. For another damping, call fp\."),
        ({"batches": [(examples()[0] * float("nan"), None)]}, r"prune\(batches=\) must be finite everywhere"),
    ],
)
def test_what_is_refused(given, said) -> None:
    how: dict[str, Any] = {
        "measure": "magnitude",
        "sparsity": 0.5,
        "batches": [examples()],
        "compensate": True,
        "diagnose": False,
    }
    with pytest.raises(ValueError, match=said):
        fp.prune(mlp(6, 20, 3), **{**how, **given})


def test_a_recipe_that_rescales_is_refused() -> None:
    how: dict[str, Any] = {"recipe": "sbp_rescaled", "sparsity": 0.5, "batches": [examples()], "compensate": True}
    with pytest.raises(ValueError, match="pass rescale=None to compensate"):
        fp.prune(mlp(6, 20, 3), **how)
    assert fp.prune(mlp(6, 20, 3), **how, rescale=None).compensation is not None
