"""What cannot be proven is named and left whole; everything else is pruned."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from flowprune.core.errors import PruningError
from flowprune.prune import prune
from flowprune.structure import remove, trace
from tests.structure.comparing import UnitMasks, drawn, images
from tests.structure.stubborn import Between, Branching, Call, Endless, Stateful, WrittenSize

# Something between two convolutions, the operation refused, and a word of the reason.
REFUSED = {
    "sigmoid": (nn.Sigmoid(), "aten.sigmoid", "f(0) is not 0"),
    "sigmoid in place": (Call(lambda x: x.sigmoid_()), "aten.sigmoid", "f(0) is not 0"),
    "softplus": (nn.Softplus(), "aten.softplus", "f(0) is not 0"),
    "softmax over channels": (nn.Softmax(1), "aten.softmax", "over channels"),
    "softmax over space": (nn.Softmax(-1), "aten.softmax", "of zeros is not zero"),
    "norm without scale": (nn.BatchNorm2d(6, affine=False), "aten.batch_norm", "affine=False"),
    "instance norm of running statistics": (
        nn.InstanceNorm2d(6, track_running_stats=True),
        "aten.instance_norm",
        "affine=False",
    ),
    "group norm of one group": (nn.GroupNorm(1, 6), "aten.group_norm", "all channels"),
    "layer norm": (nn.LayerNorm((6, 8, 8)), "aten.layer_norm", "over the channels"),
    "add a number": (Call(lambda x: x + 1), "aten.add", "adds a number"),
    "subtract from a number": (Call(lambda x: 1 - x), "aten.rsub", "adds a number"),
    "pad with ones": (nn.ConstantPad2d(1, 1.0), "aten.pad", "surrounds"),
    "mean over channels": (Call(lambda x: x * x.mean(1, keepdim=True)), "aten.mean", "average over channels"),
    "maximum over channels": (Call(lambda x: x * x.amax(1, keepdim=True)), "aten.amax", "take part"),
    "sum over channels, added": (Call(lambda x: x + x.sum(1, keepdim=True)), "aten.add", "spread over all channels"),
    "channels by place": (Call(lambda x: torch.cat([x[:, 3:], x[:, :3]], 1)), "aten.slice", "a number"),
    "channels by number": (Call(lambda x: x[:, torch.arange(6)]), "aten.index", "by their place"),
    "parts of a written size": (Call(lambda x: torch.cat(x.split(3, 1)[::-1], 1)), "aten.split", "a number"),
    "unequal parts": (Call(lambda x: torch.cat(x.split([2, 4], 1), 1)), "aten.split_with_sizes", "a number"),
    "reversed": (Call(lambda x: x.flip(1)), "aten.flip", "reorders"),
    "without a rule": (Call(lambda x: x.remainder(1.5)), "aten.remainder", "no rule"),
    "clamped away from zero": (nn.Hardtanh(0.5, 1.0), "aten.hardtanh", "bounds"),
    "one and a parameter added": (Stateful("parameter", lambda x, g: x + (1 + g)), "aten.add", "adds a number"),
    "one and an unregistered tensor": (Stateful("constant", lambda x, g: x * (1 + g)), "aten.mul", "cannot shrink"),
    "added buffer": (Stateful("buffer", torch.add), "aten.add", "not zeroed"),
    "unregistered tensor": (Stateful("constant", torch.mul), "aten.mul", "cannot shrink"),
    "divided by a parameter": (Stateful("parameter", torch.div), "aten.div", "divides by channels"),
    "computed weight": (parametrizations.weight_norm(nn.Conv2d(6, 6, 1)), "aten.conv2d", "computed"),
    "attention over channels": (
        Call(
            lambda x: (
                functional.scaled_dot_product_attention(*[x.flatten(2).transpose(1, 2)] * 3).transpose(1, 2).view_as(x)
            )
        ),
        "aten.scaled_dot_product_attention",
        "its scale",
    ),
    "attention by hand, over channels": (
        Call(
            lambda x: x * (x.flatten(2) @ x.flatten(2).transpose(1, 2) / x.shape[1] ** 0.5).sum((1, 2), True)[..., None]
        ),
        "aten.div",
        "changes with the channels",
    ),
}
# Something that looks like trouble and is none.
PROVEN = {
    "sigmoid before a norm": nn.Sequential(nn.Sigmoid(), nn.BatchNorm2d(6)),
    "bare norm before a norm": nn.Sequential(nn.BatchNorm2d(6, affine=False), nn.ReLU(), nn.BatchNorm2d(6)),
    "norm without statistics": nn.BatchNorm2d(6, track_running_stats=False),
    "instance norm": nn.InstanceNorm2d(6, affine=True),
    "instance norm without scale": nn.InstanceNorm2d(6),
    "norm without anything": nn.BatchNorm2d(6, affine=False, track_running_stats=False),
    "swish by hand": Call(lambda x: x * torch.sigmoid(x)),
    "zero padding": nn.ZeroPad2d(1),
    "mirror padding": nn.ReflectionPad2d(1),
    "circular convolution": nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular"),
    "scaled by a buffer": Stateful("buffer", torch.mul),
    "scaled by a parameter": Stateful("parameter", torch.mul),
    "offset by a parameter": Stateful("parameter", torch.add),
    "scaled by one and a parameter": Stateful("parameter", lambda x, g: x * (1 + g)),
    "scaled by one less a parameter": Stateful("parameter", lambda x, g: x * (1 - g)),
    "scaled by a parameter less one": Stateful("parameter", lambda x, g: x * (g - 1)),
    "scaled by twice a parameter": Stateful("parameter", lambda x, g: x * (2 * g)),
    "scaled by half a parameter": Stateful("parameter", lambda x, g: x * (g / 2)),
    "offset by part of a parameter": Stateful("parameter", lambda x, g: x + 0.1 * g),
    "scaled by one and a buffer": Stateful("buffer", lambda x, g: x * (1 + g)),
    "centred in space": Call(lambda x: x - x.mean((2, 3), keepdim=True)),
    "sum over channels, multiplied": Call(lambda x: x * x.sum(1, keepdim=True)),
    "channels last and back": Call(lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)),
    "equal parts": Call(lambda x: torch.cat(x.chunk(3, 1)[::-1], 1)),
    "gate": nn.Sequential(nn.Conv2d(6, 12, 1), nn.GLU(1)),
    "shuffle": nn.ChannelShuffle(3),
    "heads": Call(lambda x: functional.scaled_dot_product_attention(x, x, x)),
    "group norm": nn.GroupNorm(2, 6),
    "group norm without scale": nn.GroupNorm(3, 6, affine=False),
    "no gradient": Call(lambda x: x * torch.no_grad()(x.tanh)()),
    "in place": Call(lambda x: functional.relu_(x).add_(x)),
    "to another type and back": Call(lambda x: x.float().double()),
    "clamped around zero": nn.Hardtanh(),
    "dropout": nn.Dropout2d(0.4),
    "one channel for all": nn.Sequential(nn.Conv2d(6, 1, 1), Call(lambda x: x.expand(-1, 6, -1, -1))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name_and_the_rest_pruned(name):
    something, operation, reason = REFUSED[name]
    model, x = Between(something).double(), images()
    found = trace(model, x)
    assert {name: group.size for name, group in found.groups.items()} == {"b.weight": 5}
    refusal = next(r for r in found.refusals if reason in r.reason and r.operation == operation)
    assert "a.weight" in refusal.weights
    assert operation in str(refusal)
    small = remove(model, drawn(found.groups), example_inputs=x)
    assert small.a.out_channels == 6
    assert small.b.out_channels < 5


@pytest.mark.parametrize("name", PROVEN)
def test_proven(name):
    model, x = Between(PROVEN[name]).double(), images()
    found = trace(model, x)
    assert found.refusals == ()
    assert {"a.weight", "b.weight"} <= set(found.groups)
    first = {name: torch.arange(group.size) == 0 for name, group in found.groups.items()}
    assert remove(model, UnitMasks(first, found.groups), example_inputs=x).a.out_channels < 6


def test_a_refusal_names_the_line_of_the_models_code():
    refusal = trace(WrittenSize("number").double(), images()).refusals[0]
    assert (refusal.operation, refusal.weights) == ("aten.view", ("conv.weight",))
    assert "stubborn.py" in refusal.where
    assert "x = x.view(x.shape[0], size)" in refusal.where


def test_a_computed_size_is_told_from_a_written_one():
    assert set(trace(WrittenSize("computed").double(), images()).groups) == {"conv.weight", "hidden.weight"}
    assert set(trace(WrittenSize("number").double(), images()).groups) == {"hidden.weight"}


def test_an_attribute_that_counts_channels_follows_them():
    model, x = WrittenSize("attribute").double(), images()
    found = trace(model, x)
    assert [m.name for m in found.groups["conv.weight"].members if m.role == "size"] == ["size"]
    small = remove(model, {"conv.weight": torch.arange(6) > 1}, example_inputs=x)
    assert (small.size, model.size, small.hidden.in_features) == (64, 96, 64)


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(6), nn.GroupNorm(3, 6, affine=False)])
def test_a_norm_without_tensors_counts_its_channels(norm, recwarn):
    model, x = Between(norm).double(), images()
    small = remove(model, {"a.weight": torch.arange(6) < 4}, example_inputs=x)
    recwarn.clear()
    small(x)
    assert not recwarn.list
    count = "num_features" if isinstance(norm, nn.InstanceNorm2d) else "num_channels"
    assert getattr(small.something, count) == 4
    assert getattr(model.something, count) == 6


def test_outputs_are_no_refusal():
    found = trace(nn.Sequential(nn.Linear(3, 4), nn.Sigmoid()), torch.ones(2, 3))
    assert (dict(found.groups), found.refusals) == ({}, ())


def test_only_the_frozen_part_of_a_layer_stays():
    """The model returns half of the channels that it goes on with."""

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(3, 5), nn.Linear(9, 2)

        def forward(self, x):
            a, b = torch.relu(self.a(x)), torch.relu(self.b(x))
            return self.c(torch.cat([a, b], 1)), a

    model, x = Half().double(), torch.randn(2, 3).double()
    assert {name: group.size for name, group in trace(model, x).groups.items()} == {"b.weight": 5}
    small = remove(model, {"b.weight": torch.arange(5) > 2}, example_inputs=x)
    assert torch.equal(small.c.weight, model.c.weight[:, [0, 1, 2, 3, 7, 8]])


def test_a_branch_on_values_is_named():
    with pytest.raises(PruningError, match=r"stubborn.py:\d+ `if x.sum\(\) > 0:`.*torch.where"):
        trace(Branching().double(), images())


def test_inputs_that_do_not_fit_are_named():
    with pytest.raises(PruningError, match=r"RuntimeError in '1' \(Linear\).*torch\.export"):
        trace(nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), torch.ones(2, 4))
    with pytest.raises(PruningError, match=r"(?i)device"):
        trace(nn.Linear(3, 2), torch.ones(2, 3, device="meta"))


def test_a_model_that_cannot_be_copied():
    model = nn.Linear(2, 2)
    model.kept = model(torch.ones(1, 2))
    with pytest.raises(PruningError, match=r"copy\.deepcopy"):
        trace(model, torch.ones(1, 2))


def test_no_trace_goes_on_for_ever():
    start = time.monotonic()
    with pytest.raises(PruningError, match=r"trace\(time_limit=\) stopped after 0.5 s"):
        trace(Endless().double(), images(), time_limit=0.5)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("kind", ["transformer", "recurrent", "bilinear", "normalised weights"])
def test_models_full_of_unknown_operations_are_left_whole_where_unknown(kind):
    torch.manual_seed(0)
    model, x, offered = {
        "transformer": (
            nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 3)),
            torch.randn(2, 5, 8),
            {"0.linear1.weight": 16},
        ),
        "recurrent": (
            nn.Sequential(
                nn.Linear(5, 8), nn.GRU(8, 6), Call(lambda y: y[0]), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 2)
            ),
            torch.randn(4, 2, 5),
            {"3.weight": 7},
        ),
        "bilinear": (
            nn.Sequential(nn.Linear(5, 8), Call(lambda y: functional.bilinear(y, y, torch.ones(3, 8, 8)))),
            torch.randn(2, 5),
            {},
        ),
        "normalised weights": (
            nn.Sequential(
                parametrizations.spectral_norm(nn.Linear(5, 8)), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 2)
            ),
            torch.randn(2, 5),
            {"2.weight": 7},
        ),
    }[kind]
    found = trace(model, x)
    assert {name: group.size for name, group in found.groups.items()} == offered
    assert found.refusals or kind == "normalised weights"
    remove(model, drawn(found.groups), example_inputs=x)


@pytest.mark.parametrize("said", ["no such luck", "no such luck.", "no such luck\nof two lines", ""])
def test_why_a_model_cannot_be_captured_is_a_sentence_of_its_own(said):
    def broken(x):
        raise KeyError(said) if not said else RuntimeError(said)

    with pytest.raises(PruningError, match=r"`raise .*`: (no such luck|'')\. torch\.export\.export\(model, args"):
        trace(Call(broken), images())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("old", ["weight_norm", "spectral_norm"])
def test_the_way_out_of_an_old_weight_norm_is_named(old):
    model, x = nn.Sequential(nn.Linear(3, 2), getattr(nn.utils, old)(nn.Linear(2, 2))), torch.ones(2, 3)
    model(x).sum().backward()
    for use in (trace, lambda model, x: prune(model, measure="magnitude", sparsity=0.5)):
        with pytest.raises(PruningError, match=rf"'1' keeps a weight.*use torch\.nn\.utils\.parametrizations\.{old}"):
            use(model, x)
