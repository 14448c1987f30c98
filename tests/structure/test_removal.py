"""The smaller model computes what the masked one computes."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import nn

from flowprune.core.errors import PruningError
from flowprune.structure import remove, trace
from tests.structure.comparing import UnitMasks, assert_same, drawn, images, randomised, zeroed
from tests.structure.removable import PRUNABLE, Functional, Plain, Residual, Separable, Tied, TrainingHead, every


@every
def test_every_group_is_found(kind):
    found = trace(randomised(kind), images())
    assert {name: group.size for name, group in found.groups.items()} == PRUNABLE[kind]
    assert found.refusals == ()


@every
@pytest.mark.parametrize("seed", range(4))
def test_small_is_masked_in_both_modes(kind, seed):
    model, x = randomised(kind, seed), images()
    layout = trace(model, x).groups
    masks = drawn(layout, seed, density=0.3 + 0.2 * seed)
    small = remove(model, masks, example_inputs=x, verify=False)
    assert_same(zeroed(model, layout, masks), small, images(seed + 7, count=3))


@every
def test_what_is_masked_is_gone(kind):
    """Every tensor loses exactly the positions of its members, and the names stay."""
    model, x = randomised(kind), images()
    layout = trace(model, x).groups
    masks = drawn(layout)
    small = remove(model, masks, example_inputs=x, verify=False)
    sizes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    tied = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        tied.setdefault(id(tensor), []).append(name)
    alias = {names[0]: names for names in tied.values()}
    for name, mask in masks.items():
        for member in layout[name].members:
            for known in alias.get(member.name, [member.name]):
                sizes[known][member.axis] -= int((~mask[member.units]).sum())
    assert {name: list(tensor.shape) for name, tensor in small.state_dict().items()} == sizes
    assert type(small) is type(model)


@every
def test_a_trace_of_the_smaller_model_finds_the_units_that_are_left(kind):
    model, x = randomised(kind), images()
    layout = trace(model, x).groups
    masks = UnitMasks({n: torch.arange(g.size) < max(g.size - 1, 2) for n, g in layout.items()}, layout)
    small = remove(model, masks, example_inputs=x, verify=False)
    left = trace(small, x).groups
    assert {name: group.size for name, group in left.items()} == {name: int(m.sum()) for name, m in masks.items()}


@every
def test_one_unit_left_of_everything(kind):
    model, x = randomised(kind), images()
    layout = trace(model, x).groups
    masks = UnitMasks({name: torch.arange(group.size) == 1 % group.size for name, group in layout.items()}, layout)
    assert_same(zeroed(model, layout, masks), remove(model, masks, example_inputs=x), x)


@every
def test_all_kept_changes_nothing(kind):
    model, x = randomised(kind), images()
    layout = trace(model, x).groups
    masks = UnitMasks({name: torch.ones(group.size, dtype=torch.bool) for name, group in layout.items()}, layout)
    small = remove(model, masks, example_inputs=x)
    for name, tensor in model.state_dict().items():
        assert torch.equal(small.state_dict()[name], tensor)


@every
def test_a_training_step_of_the_smaller_model_works(kind):
    model, x = randomised(kind), images()
    small = remove(model, drawn(trace(model, x).groups), example_inputs=x, verify=False).train()
    out = small(x)
    (sum(part.sum() for part in out) if isinstance(out, tuple) else out.sum()).backward()
    torch.optim.SGD(small.parameters(), lr=0.1, momentum=0.9).step()
    for name, param in small.named_parameters():
        assert param.grad is None or param.grad.shape == param.shape, name


@pytest.mark.parametrize("kind", [Plain, Residual, Separable], ids=lambda kind: kind.__name__)
def test_single_precision_and_channels_last(kind):
    model = randomised(kind).float().to(memory_format=torch.channels_last)
    x = images().float().contiguous(memory_format=torch.channels_last)
    layout = trace(model, x).groups
    masks = drawn(layout)
    small = remove(model, masks, example_inputs=x)
    assert_same(zeroed(model, layout, masks), small, x, tolerance=1e-4)
    for name, param in small.named_parameters():
        if param.dim() == 4:
            assert param.is_contiguous(memory_format=torch.channels_last), name


def test_half_precision():
    model, x = randomised(Plain).to(torch.bfloat16), images().to(torch.bfloat16)
    small = remove(model, drawn(trace(model, x).groups), example_inputs=x)
    assert {p.dtype for p in small.parameters()} == {torch.bfloat16}


def test_named_arguments_and_tuples():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Linear(3, 6), nn.Linear(2, 6), nn.Linear(6, 2)

        def forward(self, left, right):
            return {"out": self.head(torch.relu(self.a(left)) * torch.relu(self.b(right)))}

    model, left, right = Two().double(), torch.randn(2, 3).double(), torch.randn(2, 2).double()
    masks = {name: torch.arange(6) < 4 for name in ("a.weight", "b.weight")}
    for inputs in ((left, right), {"right": right, "left": left}):
        small = remove(model, masks, example_inputs=inputs)
        assert small.head.in_features == 4
    with pytest.raises(ValueError, match=r"trace\(example_inputs=\)"):
        remove(model, masks, example_inputs=3)


def test_tied_weights_stay_tied():
    model, x = randomised(Tied), images()
    small = remove(model, drawn(trace(model, x).groups), example_inputs=x)
    assert small.b.weight is small.a.weight


def test_attributes_say_the_new_sizes():
    model, x = randomised(Separable), images()
    layout = trace(model, x).groups
    keep = UnitMasks({"stem.weight": torch.arange(6) < 4, "pw.weight": torch.arange(5) < 3}, layout)
    small = remove(model, keep, example_inputs=x)
    assert (small.stem.in_channels, small.stem.out_channels) == (3, 4)
    assert (small.dw.in_channels, small.dw.out_channels, small.dw.groups) == (4, 4, 4)
    assert (small.pw.in_channels, small.pw.out_channels, small.bn1.num_features, small.head.in_features) == (4, 3, 4, 3)


def test_heads_of_training_alone_are_traced_too():
    model, x = randomised(TrainingHead), images()
    small = remove(model, drawn(trace(model, x).groups), example_inputs=x)
    assert small.extra.in_features == small.a.out_channels


def test_depthwise_filters_follow_and_are_not_scored():
    group = trace(randomised(Separable), images()).groups["stem.weight"]
    scored = {(member.name, member.role) for member in group.members if member.scored}
    assert scored == {("stem.weight", "weight"), ("bn0.weight", "norm"), ("bn0.bias", "norm")}
    followers = {member.name for member in group.members if member.zeroed and not member.scored}
    assert followers == {"stem.bias", "dw.weight", "dw.bias", "bn1.weight", "bn1.bias"}


def test_all_writers_of_a_stream_are_scored():
    group = trace(randomised(Residual), images()).groups["stem.weight"]
    assert {m.name for m in group.members if m.scored and m.role == "weight"} == {
        "stem.weight",
        "layers.0.conv2.weight",
        "layers.1.conv2.weight",
    }


def test_functional_weights_need_no_module():
    model, x = randomised(Functional), images()
    small = remove(model, {"w1": torch.arange(7) < 3, "w2": torch.arange(6) < 2}, example_inputs=x)
    assert {name: tuple(p.shape) for name, p in small.named_parameters()} == {
        "w1": (3, 192),
        "w2": (3, 2),
        "w3": (4, 2),
        "scale": (3,),
        "offset": (1, 2),
    }


def test_without_inputs_the_last_trace_of_the_model_is_used():
    model, x = randomised(Plain), images()
    masks = {"0.weight": torch.arange(6) < 2}
    with pytest.raises(ValueError, match=r"remove\(example_inputs=\)"):
        remove(model, masks)
    trace(model, x)
    assert remove(model, masks)[0].out_channels == 2


def test_verification_catches_a_function_that_is_not_the_graph():
    """A hook that changes an output is not in the graph that was proven."""
    model, x = randomised(Plain), images()
    model[2].register_forward_hook(lambda module, args, output: output + 1.0)
    masks = {"0.weight": torch.arange(6) < 3}
    with pytest.raises(PruningError, match="must compute what the masked one computes in eval mode; output differs"):
        remove(model, masks, example_inputs=x)
    remove(model, masks, example_inputs=x, verify=False)


def test_a_model_is_captured_twice_and_then_remembered():
    model, x = randomised(lambda: Residual(12)).float(), images().float()
    with mock.patch.object(torch.export, "export", wraps=torch.export.export) as export:
        layout = trace(model, x).groups
        assert export.call_count == 2
        remove(model, drawn(layout), verify=False)
        assert export.call_count == 2
