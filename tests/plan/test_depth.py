"""Models that lost whole blocks: saved, loaded, done again, and followed by what goes with them in training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import flowprune as fp
from flowprune.core.fingerprint import fingerprint
from flowprune.plan import plan_of
from flowprune.structure import cut_, trace_depth
from tests.structure.depth.residual import hugging_face, network, residual_mlp

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
PICTURES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
DEPTHS = ("num_layers", "num_hidden_layers", "n_layer", "layer_types", "layer_idx")


def subject(kind):
    """A model with blocks, and what it is called with."""
    if kind == "mlp":
        return residual_mlp(5), X
    return (network(kind), PICTURES) if kind == "resnet20" else hugging_face(kind)


def call(model, inputs):
    with torch.no_grad():
        found = model.eval()(**inputs) if isinstance(inputs, dict) else model.eval()(inputs)
    return getattr(found, "logits", found)


def shortened(model, inputs):
    """A copy without the half of its blocks that have the smallest weights."""
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Depth(example_inputs=inputs))
    return fp.remove(model, fp.select(scores, 0.5))


def settings(model):
    """What counts and numbers layers."""
    holders = [(n, vars(m)) for n, m in model.named_modules()]
    holders += [(f"{n}.config", vars(vars(m)["config"])) for n, m in model.named_modules() if "config" in vars(m)]
    return {(n, key): value for n, held in holders for key, value in held.items() if key in DEPTHS}


@pytest.mark.parametrize("kind", ["mlp", "resnet20", "llama", "gpt2", "vit"])
def test_what_is_saved_is_loaded_to_the_bit(tmp_path, kind):
    model, inputs = subject(kind)
    dense = copy.deepcopy(model)
    small = shortened(model, inputs)
    again = fp.load(copy.deepcopy(dense), fp.save(small, tmp_path))
    assert list(again.state_dict()) == list(small.state_dict())
    assert settings(again) == settings(small)
    assert torch.equal(call(again, inputs), call(small, inputs))
    replayed = fp.replay(tmp_path, dense, example_inputs=inputs)
    assert torch.equal(call(replayed, inputs), call(small, inputs))
    found = fp.plan.verify(tmp_path, lambda: copy.deepcopy(dense))
    assert found.parameters == sum(p.numel() for p in small.parameters())
    assert found.plan.fingerprint == fingerprint(dict(small.named_parameters()))


def test_a_plan_replayed_on_other_weights_keeps_the_same_blocks(tmp_path):
    model, other = residual_mlp(5), residual_mlp(5)
    for param in other.parameters():
        nn.init.normal_(param)
    fp.save(shortened(model, X), tmp_path)
    plan = fp.plan.read_plan(tmp_path)
    (dropping,) = plan.operations
    small = fp.replay(plan, other, example_inputs=X)
    kept = [block for path, block in other.named_children() if path not in dropping.modules]
    torch.testing.assert_close(small(X), nn.Sequential(*kept)(X), rtol=0, atol=0)
    assert plan.units == {"": (3, 5)}


def test_rounds_of_blocks_and_of_channels_compose(tmp_path):
    """Blocks, then channels, then blocks again: names have moved in between."""
    model = residual_mlp(6)
    dense = copy.deepcopy(model)
    masks = [torch.arange(6) != 1, torch.arange(5) != 0]
    cut_(model, trace_depth(model, X), {"": masks[0]})
    cut_(model, fp.trace(model, X), {"3.up.weight": torch.arange(9) < 4})
    cut_(model, trace_depth(model, X), {"": masks[1]})
    assert model[2].up.out_features == 4
    plan = plan_of(model)
    assert [operation.kind for operation in plan.operations] == ["drop", "remove", "drop"]
    assert plan.units == {"": (4, 6), "2.up.weight": (4, 9)}
    again = fp.load(dense, fp.save(model, tmp_path))
    assert torch.equal(call(again, X), call(model, X))
    replayed = fp.replay(tmp_path, residual_mlp(6), example_inputs=X)
    assert torch.equal(call(replayed, X), call(model, X))


def test_held_masks_are_saved_under_the_names_of_afterwards(tmp_path):
    model = residual_mlp(4)
    dense = copy.deepcopy(model)
    keep = torch.rand(9, 6) > 0.5
    fp.apply(model, {"4.up.weight": keep})
    cut_(model, trace_depth(model, X), {"": torch.tensor([True, False, True, True])})
    again = fp.load(dense, fp.save(model, tmp_path))
    assert torch.equal(again[3].up.weight == 0, ~keep)
    assert list(plan_of(again).masks) == ["3.up.weight"]


def test_a_part_that_lost_blocks_is_saved_with_the_whole(tmp_path):
    whole = nn.ModuleDict({"body": residual_mlp(4), "head": nn.Linear(3, 2)})
    dense = copy.deepcopy(whole)
    cut_(whole["body"], trace_depth(whole["body"], X), {"": torch.tensor([False, True, True, False])})
    plan = fp.plan.read_plan(fp.save(whole, tmp_path))
    assert plan.operations[0].modules == ("body.1", "body.4")
    again = fp.load(dense, tmp_path)
    assert torch.equal(call(again["body"], X), call(whole["body"], X))


def test_another_architecture_is_refused(tmp_path):
    fp.save(shortened(residual_mlp(4), X), tmp_path)
    with pytest.raises(ValueError, match="of the architecture that the plan was made for"):
        fp.load(residual_mlp(5), tmp_path)
    with pytest.raises(ValueError, match="of the architecture that the plan was made for"):
        fp.load(shortened(residual_mlp(4), X), tmp_path)


def trained(blocks=5):
    model = residual_mlp(blocks)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    step(model, optimizer)
    return model, optimizer


def step(model, optimizer):
    optimizer.zero_grad()
    model(X).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("way", ["copy", "state", "named state"])
def test_momenta_go_with_their_blocks(way):
    model, optimizer = trained()
    small = shortened(model, X)
    gone = plan_of(small).operations[0].modules
    expected = [
        optimizer.state[param]["momentum_buffer"]
        for name, param in model.named_parameters()
        if name.partition(".")[0] not in gone
    ]
    if way == "copy":
        fp.carry(small, optimizer=optimizer, before=model)
        follower = optimizer
    else:
        state = optimizer.state_dict()
        if way == "named state":
            state["param_groups"][0]["param_names"] = [name for name, _ in model.named_parameters()]
        carried = fp.carry_state(small, state)
        if way == "named state":
            assert carried["param_groups"][0].pop("param_names") == [name for name, _ in small.named_parameters()]
        follower = torch.optim.SGD(small.parameters(), lr=0.05, momentum=0.9)
        follower.load_state_dict(carried)
    found = [follower.state[param]["momentum_buffer"] for param in small.parameters()]
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_shadow_tensors_follow_once(prefix):
    model = residual_mlp(5)
    small = shortened(model, X)
    shadow = {prefix + name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(2):
        fp.carry(small, ema=shadow)
        expected = {prefix + name: value for name, value in small.state_dict().items()}
        assert shadow.keys() == expected.keys()
        assert all(torch.equal(shadow[name], value) for name, value in expected.items())


def test_an_average_of_weights_follows_once():
    model = residual_mlp(5)
    average = AveragedModel(model)
    small = shortened(model, X)
    for _ in range(2):
        fp.carry(small, ema=average)
        assert torch.equal(call(average.module, X), call(small, X))


def test_a_part_of_the_shadow_tensors_is_refused():
    model = residual_mlp(5)
    small = shortened(model, X)
    shadow = {name: value.clone() for name, value in model.state_dict().items() if "norm" not in name}
    before = dict(shadow)
    with pytest.raises(ValueError, match=r"carry\(ema=\) must be of all parameters of a model that loses blocks"):
        fp.carry(small, ema=shadow)
    assert shadow == before


def test_an_optimizer_in_place_follows_a_cut_plan():
    model, optimizer = trained()
    plan = cut_(model, trace_depth(model, X), {"": torch.arange(5) != 1})
    fp.carry(plan, optimizer=optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(param) for param in model.parameters()} == {id(param) for param in optimizer.state}
    step(model, optimizer)
