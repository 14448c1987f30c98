"""A pruned model, saved and loaded: the same to the bit, in a process that never saw it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import flowprune as fp
from flowprune.plan.records import held_masks
from flowprune.structure import cut_
from tests.plan.training import in_rounds
from tests.structure.comparing import drawn, images, outputs, randomised
from tests.structure.removable import Perceptron, Plain, Residual, Separable, Tied, every


def assert_equal(a, b, x):
    assert type(a) is type(b)
    assert list(a.state_dict()) == list(b.state_dict())
    for mode in ("eval", "train"):
        for left, right in zip(outputs(a, x, mode), outputs(b, x, mode), strict=True):
            assert torch.equal(left, right)


@every
@pytest.mark.parametrize("seed", range(2))
def test_what_is_saved_is_loaded_to_the_bit(tmp_path, kind, seed):
    """Every network of the zoo, random masks, random widths: the property of a plan."""
    model, x = randomised(kind, seed), images()
    small = fp.remove(model, drawn(fp.trace(model, x).groups, seed, 0.3 + 0.4 * seed), example_inputs=x, verify=False)
    again = fp.load(lambda: kind().double(), fp.save(small, tmp_path))
    assert_equal(small, again, x)
    assert [str(module) for module in again.modules()] == [str(module) for module in small.modules()]
    for name, param in small.named_parameters():
        assert again.get_parameter(name).dtype == param.dtype
    fp.save(again, tmp_path / "again")
    for name in ("plan.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


@every
def test_a_plan_replayed_on_other_weights_slices_those(tmp_path, kind):
    model, x = randomised(kind), images()
    masks = drawn(fp.trace(model, x).groups)
    fp.save(fp.remove(model, masks, example_inputs=x, verify=False), tmp_path)
    other = randomised(kind, seed=5)
    before = copy.deepcopy(other.state_dict())
    replayed = fp.replay(tmp_path, other, example_inputs=x)
    expected = fp.remove(other, masks, example_inputs=x, verify=False)
    assert_equal(replayed, expected, x)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


@every
def test_rounds_compose(tmp_path, kind):
    """Cut, cut and cut again: one removal in the coordinates of the dense model."""
    model, x = randomised(kind), images()
    small = copy.deepcopy(model)
    for seed in range(3):
        cut_(small, fp.trace(small, x).groups, drawn(fp.trace(small, x).groups, seed, 0.7))
    plan = fp.plan.read_plan(fp.save(small, tmp_path))
    assert [operation.kind for operation in plan.operations] in (["remove"], [])
    assert_equal(fp.load(kind().double(), tmp_path), small, x)
    for name, tensor in fp.replay(plan, model).state_dict().items():
        assert torch.equal(tensor, small.state_dict()[name]), name


def pruned(granularity, measure="magnitude", rounds=2, residual="coupled"):
    model, x = randomised(Residual).float(), images().float()
    unit = fp.Weights() if granularity == "weights" else fp.Channels(example_inputs=x, residual=residual)
    schedule = fp.schedules.rounds(rounds, sparsity=0.5)
    options = {"seed": 3} if measure == "random" else {}
    return fp.prune(
        model, measure=measure, sparsity=0.5, granularity=unit, schedule=schedule, options=options, batches=[(x, x)]
    )


@pytest.mark.parametrize(
    ("granularity", "residual"), [("channels", "coupled"), ("channels", "masked"), ("weights", "coupled")]
)
def test_a_result_of_prune(tmp_path, granularity, residual):
    result = pruned(granularity, "random", residual=residual)
    folder = fp.save(result, tmp_path / "new" / "folder", seeds={"init": 0})
    plan = fp.plan.read_plan(folder)
    assert (plan.measure, plan.sparsity, plan.seeds) == ("random", result.masks.sparsity, {"measure": 3, "init": 0})
    again = fp.load(Residual, folder)
    x = images().float()
    assert_equal(result.model, again, x)
    masks, expected = held_masks(again), held_masks(result.model)
    assert masks.keys() == expected.keys()
    assert all(torch.equal(masks[name], expected[name]) for name in masks)
    optimizer = torch.optim.AdamW(again.parameters(), lr=0.1)
    again(x).sum().backward()
    optimizer.step()
    fp.check_zeros(again)
    for name, mask in masks.items():
        assert not again.get_parameter(name)[~mask].any()


def test_units_are_told():
    small = fp.remove(randomised(Plain), {"0.weight": torch.arange(6) < 2}, example_inputs=images())
    assert fp.plan.plan_of(small).units == {"0.weight": (2, 6)}
    masked = fp.apply(nn.Linear(2, 2), {"weight": torch.tensor([[True, False], [True, True]])})
    assert fp.plan.plan_of(masked).units == {"weight": (3, 4)}


def test_a_pruner_after_several_rounds(tmp_path):
    model, x = randomised(Separable).float(), images(count=4).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    pruner = in_rounds(model, optimizer, x)
    while not pruner.done:
        model.train()(x).square().mean().backward()
        optimizer.step()
        pruner.step([(x, x)])
    plan = fp.plan.read_plan(fp.save(pruner, tmp_path))
    assert (plan.measure, plan.sparsity) == ("magnitude", pruner.masks.sparsity)
    assert plan.units == {name: (count.kept, count.total) for name, count in pruner.masks.per_layer().items()}
    assert_equal(model, fp.load(Separable, tmp_path), x)


def test_a_loaded_model_is_pruned_and_saved_again(tmp_path):
    x = images()
    small = fp.remove(randomised(Plain), {"0.weight": torch.arange(6) < 4}, example_inputs=x)
    loaded = fp.load(lambda: Plain().double(), fp.save(small, tmp_path / "a"))
    smaller = fp.remove(loaded, {"0.weight": torch.arange(4) > 1}, example_inputs=x)
    again = fp.load(lambda: Plain().double(), fp.save(smaller, tmp_path / "b"))
    assert_equal(smaller, again, x)
    (removal,) = fp.plan.plan_of(again).operations
    assert removal.kept["0.weight"][0][1].tolist() == [2, 3]


def test_channels_that_stay_at_zero_are_zeroed_again(tmp_path):
    """A hand-made mask of one weight of a stream zeroes it and stays in place: on other weights too."""
    model, x = randomised(Residual), images()
    masks = {"layers.0.conv2.weight": torch.arange(6) < 3, "layers.0.conv1.weight": torch.arange(6) < 2}
    small = fp.remove(model, masks, example_inputs=x)
    plan = fp.plan.read_plan(fp.save(small, tmp_path))
    assert [operation.kind for operation in plan.operations] == ["zero", "remove"]
    assert_equal(small, fp.load(Residual().double(), tmp_path), x)
    other = randomised(Residual, seed=4)
    assert_equal(fp.replay(plan, other, example_inputs=x), fp.remove(other, masks, example_inputs=x), x)


def test_slices_zeroed_after_a_cut_are_those_of_the_dense_model():
    from flowprune.structure.history import Removal, Zeroing, composed

    kept, late = torch.tensor([1, 3, 4]), torch.tensor([0, 2])
    zeroing, removal = composed([Removal({"w": ((0, kept),)}), Zeroing((("w", 0, late),)), Removal({})])
    assert zeroing.slices[0][2].tolist() == [1, 4]
    assert removal.kept["w"][0][1].tolist() == [1, 3, 4]


SCRIPT = """
import sys, torch, flowprune as fp
from tests.structure.removable import Residual
model = fp.load(Residual, sys.argv[1]).eval()
torch.save(model(torch.load(sys.argv[2])), sys.argv[3])
"""


def test_a_fresh_process(tmp_path):
    result = pruned("channels")
    x = images().float()
    fp.save(result, tmp_path / "plan")
    torch.save(x, tmp_path / "x.pt")
    files = [str(tmp_path / name) for name in ("plan", "x.pt", "y.pt")]
    subprocess.run([sys.executable, "-c", SCRIPT, *files], check=True)
    assert torch.equal(torch.load(tmp_path / "y.pt"), result.model.eval()(x))


def test_the_weights_are_a_plain_state_dict_and_indices_are_small(tmp_path):
    model = nn.Sequential(nn.Linear(4, 500), nn.ReLU(), nn.Linear(500, 2))
    small = fp.remove(model, {"0.weight": torch.arange(500) % 3 > 0}, example_inputs=torch.ones(1, 4))
    fp.save(small, tmp_path)
    copy.deepcopy(small).load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert (tmp_path / "plan.safetensors").stat().st_size < 1000
    text = (tmp_path / "plan.json").read_text()
    assert len(text) < 4000
    assert '"packed/0/0.weight/0"' in text
    fp.save(model, tmp_path)  # an older plan in the folder is replaced
    assert not (tmp_path / "plan.safetensors").exists()
    assert fp.plan.read_plan(tmp_path).operations == ()


def test_types_layout_and_devices(tmp_path):
    """Half precision in the file, single in the factory; channels last; a dense model on no device at all."""
    model = randomised(Plain).to(torch.bfloat16).to(memory_format=torch.channels_last)
    x = images().to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    small = fp.remove(model, {"0.weight": torch.arange(6) < 4}, example_inputs=x)
    fp.save(small, tmp_path)

    def on_meta():
        with torch.device("meta"):
            return Plain()

    for factory in (Plain, on_meta):
        again = fp.load(factory, tmp_path)
        assert again[3].weight.is_contiguous(memory_format=torch.channels_last)
        assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
        assert_equal(small, again, x)


def test_buffers_outside_of_the_state_dict_and_frozen_parameters(tmp_path):
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 2)
            self.register_buffer("table", torch.randn(6), persistent=False)
            self.a.bias.requires_grad_(False)

        def forward(self, x):
            return self.b(torch.relu(self.a(x)) * self.table)

    model, x = Table(), torch.randn(2, 3)
    small = fp.remove(model, {"a.weight": torch.arange(6) < 4}, example_inputs=x)
    again = fp.load(Table, fp.save(small, tmp_path))
    assert torch.equal(again(x), small(x))
    assert again.table.shape == (4,)
    assert "table" not in load_file(tmp_path / "model.safetensors")
    assert [p.requires_grad for p in again.parameters()] == [True, False, True, True]


def test_tied_weights_stay_tied_and_are_stored_once(tmp_path):
    model, x = randomised(Tied), images()
    small = fp.remove(model, drawn(fp.trace(model, x).groups), example_inputs=x)
    again = fp.load(lambda: Tied().double(), fp.save(small, tmp_path))
    assert again.b.weight is again.a.weight
    assert "b.weight" not in load_file(tmp_path / "model.safetensors")


def test_wrapped_models_are_saved_by_their_own_names(tmp_path):
    model, x = randomised(Plain), images()
    averaged = AveragedModel(fp.remove(model, {"0.weight": torch.arange(6) < 4}, example_inputs=x))
    again = fp.load(lambda: Plain().double(), fp.save(averaged, tmp_path))
    assert_equal(averaged.module, again, x)


def test_a_part_of_a_model_is_cut_and_the_whole_is_saved(tmp_path):
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = Perceptron(), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.body(x))

    whole, x = Whole(), images().float()
    found = fp.trace(whole.body, x)
    cut_(whole.body, found, {"1.weight": torch.arange(9) < 5})
    fp.apply(whole.head, {"weight": torch.arange(8).view(2, 4) > 3})
    plan = fp.plan.read_plan(fp.save(whole, tmp_path))
    assert plan.units == {"body.1.weight": (5, 9), "head.weight": (4, 8)}
    again = fp.load(Whole, tmp_path)
    assert_equal(whole, again, x)
    assert again.body[1].out_features == 5
    cut_(again, fp.trace(again, x), {"body.4.weight": torch.arange(7) < 3})
    fp.load(Whole, fp.save(again, tmp_path / "further"))
    cut_(whole, fp.trace(whole, x), {"body.4.weight": torch.arange(7) < 3})
    with pytest.raises(fp.PruningError, match="cut as a whole or in parts"):
        fp.save(whole, tmp_path)


def test_settings_of_shared_objects_follow(tmp_path):
    """A config that several layers share, changed as the weights were."""

    class Config:
        def __init__(self):
            self.hidden, self.other = 6, [1, 2]

    class Reads(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.config, self.sizes = config, (6, 3)
            self.weight = nn.Parameter(torch.randn(config.hidden, 3))

        def forward(self, x):
            return torch.nn.functional.linear(x, self.weight).view(len(x), self.config.hidden)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            config = Config()
            self.first, self.second = Reads(config), Reads(config)

        def forward(self, x):
            return self.first(x).sum(1) + self.second(x).sum(1)

    from flowprune.structure.cut import keep_
    from flowprune.structure.history import Moment, Removal, record_

    for shared in (True, False):
        model = Model()
        before, parts = Moment.of(model), ["first", "second"] if shared else ["first"]
        kept = {f"{name}.weight": ((0, torch.tensor([0, 2])),) for name in parts}
        keep_(model, kept)
        if not shared:
            model.first.config = copy.copy(model.first.config)
        for name in parts:
            part = model.get_submodule(name)
            part.config.hidden, part.sizes = 2, (2, 3)
        record_(model, before, Removal(kept, before.settings(model)))
        again = fp.load(Model, fp.save(model, tmp_path))
        x = torch.randn(2, 3)
        assert torch.equal(again(x), model(x))
        assert again.first.sizes == (2, 3)
        assert (again.first.config is again.second.config) == shared
        told = json.loads((tmp_path / "plan.json").read_text())["operations"][0]["settings"]
        assert {"module": "first", "name": "config.hidden", "old": 6, "new": 2} in told


def test_layers_that_were_resized_by_hand_are_not_told_wrongly(tmp_path):
    small = fp.remove(randomised(Plain), {"0.weight": torch.arange(6) < 4}, example_inputs=images())
    small[8] = nn.Linear(8, 9)
    with pytest.raises(fp.PruningError, match=r"'8.weight' is of shape \(9, 8\).*\(4, 8\)"):
        fp.save(small, tmp_path)
    assert list(tmp_path.iterdir()) == []
