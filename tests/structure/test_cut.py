"""The cut in place: parameters, buffers, gradients, attributes, optimizer, and many rounds from one trace."""

from __future__ import annotations

import copy
from unittest import mock

import pytest
import torch
from torch import nn
from torch.func import functional_call

from flowprune.core.errors import PruningError
from flowprune.core.optimizer_state import assert_live, follow, held_names
from flowprune.masks import apply, check_zeros
from flowprune.structure import cut_, masked_tensors, remove, slice_layout, trace
from tests.structure.comparing import assert_same, drawn, images, randomised, zeroed
from tests.structure.removable import Dense, Plain, Residual, Separable, Tied, every


def step(model, optimizer, x):
    optimizer.zero_grad()
    out = model(x)
    out = out[0] if isinstance(out, tuple) else out
    out.square().sum().backward()
    optimizer.step()


@every
def test_the_cut_in_place_is_the_masked_function(kind):
    model, x = randomised(kind), images()
    found = trace(model, x)
    masks = drawn(found.groups)
    masked, names = zeroed(model, found.groups, masks), [name for name, _ in model.named_modules()]
    plan = cut_(model, found, masks)
    assert [name for name, _ in model.named_modules()] == names
    assert_same(masked, model, x)
    for name, axes in plan.items():
        for axis, kept in axes:
            assert model.state_dict()[name].shape[axis] == len(kept)


@every
def test_masked_tensors_are_the_masked_model(kind):
    model, x = randomised(kind).eval(), images()
    layout = trace(model, x).groups
    masks = drawn(layout)
    masked = functional_call(model, masked_tensors(model, layout, masks), (x,))
    torch.testing.assert_close(zeroed(model, layout, masks)(x), masked)


@every
def test_a_layout_after_a_cut_is_the_layout_of_a_fresh_trace(kind):
    model, x = randomised(kind), images()
    layout = trace(model, x).groups
    masks = {name: torch.arange(group.size) != 1 for name, group in layout.items() if group.size > 2}
    cut_(model, layout, masks)
    sliced, fresh = slice_layout(layout, masks), trace(copy.deepcopy(model), x).groups
    assert list(sliced) == list(fresh)
    for name, group in fresh.items():
        assert sliced[name].size == group.size
        pairs = zip(sliced[name].members, group.members, strict=True)
        for left, right in pairs:
            assert (left.name, left.axis, left.role, left.scored) == (right.name, right.axis, right.role, right.scored)
            assert torch.equal(left.positions, right.positions)
            assert torch.equal(left.units, right.units)


@every
def test_many_rounds_from_one_export(kind):
    model, x = randomised(kind), images()
    trace(model, x)
    with mock.patch("torch.export.export", side_effect=AssertionError("traced again")):
        for seed in range(3):
            found = trace(model, x)
            masks = drawn(found.groups, seed, density=0.7)
            masked = zeroed(model, found.groups, masks)
            cut_(model, found, masks)
            assert_same(masked, model, x)
    owned = trace(model, x).owned
    fresh = trace(copy.deepcopy(model), x).owned
    for name, items in fresh.items():
        assert {(i.name, i.axis, tuple(i.positions)) for i in owned[name]} == {
            (i.name, i.axis, tuple(i.positions)) for i in items
        }


@pytest.mark.parametrize("kind", [Plain, Residual, Separable, Tied, Dense], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_optimizer_follows(kind, optimizer):
    """A step of the cut model is the step of the masked one, at every weight that is left."""
    model, x = randomised(kind), images()
    kinds = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1, nesterov=True),
        "adam": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    }
    optimiser = kinds[optimizer](model.parameters())
    for _ in range(2):
        step(model, optimiser, x)
    found = trace(model, x)
    masks = drawn(found.groups)
    masked = zeroed(model, found.groups, masks)
    twin = kinds[optimizer](masked.parameters())
    twin.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    held = held_names(optimiser, model)
    plan = cut_(model, found, masks)
    with pytest.raises(PruningError, match=r"follow\(optimizer, plan.replaced\)"):
        assert_live(optimiser, model)
    follow(optimiser, plan.replaced)
    assert_live(optimiser, model, held=held)
    step(model, optimiser, x)
    step(masked, twin, x)
    for name, param in model.named_parameters():
        expected = masked.get_parameter(name)
        for axis, kept in plan.get(name, ()):
            expected = expected.index_select(axis, kept)
        torch.testing.assert_close(param, expected, rtol=1e-8, atol=1e-10)


def test_parameters_are_new_objects_and_keep_what_they_carry():
    model, x = randomised(Plain), images()
    model(x).sum().backward()
    model[0].bias.requires_grad_(False)
    model[0].weight.note = "mine"
    old, grad = dict(model.named_parameters()), model[0].weight.grad.clone()
    plan = cut_(model, trace(model, x), {"0.weight": torch.arange(6) > 1})
    weight, bias = model[0].weight, model[0].bias
    assert weight is not old["0.weight"]
    assert (weight.note, weight.requires_grad, bias.requires_grad) == ("mine", True, False)
    assert torch.equal(weight.grad, grad[2:])
    assert model[1].bias.is_leaf
    assert old["0.weight"].shape == (6, 3, 3, 3)
    assert plan.replaced[old["0.weight"]][0] is weight
    assert model[8].weight is old["8.weight"]  # not cut, not replaced
    assert "8.weight" not in plan


def test_a_graph_that_autograd_still_holds_stays_right():
    model, x = randomised(Plain), images()
    loss, old = model(x).sum(), model[0].weight
    cut_(model, trace(model, x), {"0.weight": torch.arange(6) > 1})
    loss.backward()
    assert old.grad.shape == (6, 3, 3, 3)


def test_tied_parameters_get_one_successor():
    model, x = randomised(Tied), images()
    cut_(model, trace(model, x), {"inner.weight": torch.arange(6) > 2})
    assert model.a.weight is model.b.weight
    assert model.a.weight.shape == (3, 3)


def test_channels_last_stays():
    model = randomised(Plain).to(memory_format=torch.channels_last)
    cut_(model, trace(model, images()), {"0.weight": torch.arange(6) > 1})
    assert model[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert not model[3].weight.is_contiguous()


def test_what_the_model_carries_is_told():
    class Carried:
        def follow_cut(self, replaced):
            self.seen = {tuple(old.shape): tuple(new.shape) for old, (new, _) in replaced.items()}

    model = randomised(Plain)
    found = trace(model, images())
    model._flowprune_masks = carried = Carried()
    cut_(model, found, {"3.weight": torch.arange(8) > 1})
    assert carried.seen == {(8, 6, 3, 3): (6, 6, 3, 3), (8,): (6,), (4, 8): (4, 6)}


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        ({"0.weight": torch.zeros(6, dtype=torch.bool)}, PruningError, "'0.weight' loses all 6"),
        ({"0.weight": torch.ones(7, dtype=torch.bool)}, ValueError, r"shape \(6,\)"),
        ({"0.weight": torch.ones(6)}, ValueError, "boolean"),
        ({"9.weight": torch.ones(6, dtype=torch.bool)}, ValueError, "no '9.weight'"),
    ],
)
def test_nothing_is_cut_by_a_wrong_mask(masks, error, message):
    model = randomised(Plain)
    found = trace(model, images())
    before = dict(model.named_parameters())
    with pytest.raises(error, match=message):
        cut_(model, found, {"3.weight": torch.arange(8) > 1, **masks})
    assert all(before[name] is param for name, param in model.named_parameters())


def test_a_layout_of_the_uncut_model_is_refused_after_the_cut():
    model = randomised(Plain)
    layout = trace(model, images()).groups
    masks = {"0.weight": torch.arange(6) < 5}
    cut_(model, layout, masks)
    with pytest.raises(PruningError, match="slice_layout"):
        cut_(model, layout, masks)


def test_a_frozen_model_is_cut_all_the_same():
    model = randomised(Plain).requires_grad_(False)
    cut_(model, trace(model, images()), {"0.weight": torch.arange(6) > 1})
    assert model[0].out_channels == 4
    assert not any(p.requires_grad for p in model.parameters())


def test_a_model_without_parameters():
    model = nn.Sequential(nn.ReLU(), nn.Flatten())
    assert dict(cut_(model, trace(model, images()), {})) == {}


def test_masked_weights_stay_masked_in_what_is_left():
    """Single weights masked first, channels removed then: the zeros are still kept at zero."""
    model, x = randomised(Plain), images()
    keep = torch.rand(8, 6, 3, 3, generator=torch.Generator().manual_seed(0)) > 0.5
    apply(model, {"3.weight": keep})
    small = remove(model, {"0.weight": torch.arange(6) > 1, "3.weight": torch.arange(8) > 2}, example_inputs=x)
    check_zeros(small)
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        step(small, optimizer, x)
    check_zeros(small)
    assert torch.equal(small[3].weight != 0, keep[3:, 2:])
    check_zeros(model)
    assert torch.equal(model[3].weight != 0, keep)
