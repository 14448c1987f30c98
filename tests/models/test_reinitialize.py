"""Other weights in the same model."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.models import MODELS, build_for, reinitialize_

DEEP = ("resnet32", "resnet34", "resnet56", "resnet110")
"""Of the same classes as shallower ones."""


def sized(name="digits_convnet", seed=0):
    return build_for(name, (3, 32, 32), num_classes=5, width=0.1, seed=seed)


def differ(a, b):
    return [key for key, value in a.items() if not torch.equal(value, b[key])]


@pytest.mark.parametrize("name", [name for name in MODELS if name not in DEEP])
def test_the_models_here_are_drawn_as_they_are_built(name):
    """Both ways, and the statistics of norms start over."""
    model = sized(name, seed=0)
    model.train()(torch.randn(4, 3, 32, 32))
    fresh = sized(name, seed=7).state_dict()
    assert differ(model.state_dict(), fresh)
    assert differ(reinitialize_(model, seed=7).state_dict(), fresh) == []
    other = sized(name, seed=1)
    assert differ(reinitialize_(other, seed=7, build=partial(sized, name)).state_dict(), fresh) == []


def test_the_object_its_names_modes_and_the_random_state_stay():
    model = sized()
    model.features[0].eval()
    modes = [module.training for module in model.modules()]
    held = dict(model.named_parameters())
    state = torch.get_rng_state()
    assert reinitialize_(model, seed=1) is model
    assert all(held[name] is param for name, param in model.named_parameters())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("build", [None, partial(sized, "digits_convnet")])
@pytest.mark.parametrize("units", ["weights", "channels"])
def test_masks_hold_and_kept_weights_change(build, units):
    model = sized()
    granularity = fp.Weights() if units == "weights" else fp.Channels(example_inputs=torch.ones(1, 3, 32, 32))
    masks = fp.select(fp.score("magnitude", fp.gather(model, None, (), needs=()), granularity), 0.5)
    fp.apply(model, masks)
    held = fp.masks.masks_of(model)
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    reinitialize_(model, seed=3, build=build)
    fp.check_zeros(model)
    assert held.keys() == fp.masks.masks_of(model).keys()
    for name, param in model.named_parameters():
        if name in held and param.dim() > 1:
            assert not bool((param[held[name]] == before[name][held[name]]).any())
            assert not bool(param[~held[name]].any())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    fp.check_zeros(model)


def test_a_model_that_was_cut_draws_at_its_own_size():
    units = fp.Channels(example_inputs=torch.ones(1, 3, 32, 32))
    small = fp.prune(sized(), measure="magnitude", sparsity=0.5, granularity=units).model
    before = small.state_dict()["classifier.weight"].clone()
    assert not bool((reinitialize_(small, seed=1).state_dict()["classifier.weight"] == before).any())
    with pytest.raises(ValueError, match="Leave build= out for a model that was cut"):
        reinitialize_(small, seed=1, build=sized)


class Positions(nn.Module):
    """A parameter of its own, drawn by the constructor."""

    def __init__(self, wide=False):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.table = nn.Parameter(torch.randn(3, 2))
        if wide:
            self.extra = nn.Linear(2, 2)


def test_a_module_that_cannot_draw_is_named_and_nothing_changes():
    model = nn.Sequential(nn.Linear(2, 2), Positions(), nn.MultiheadAttention(4, 2))
    before = {name: param.detach().clone() for name, param in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"no reset_parameters: 1 \(Positions\), 2 \(MultiheadAttention\); got None"):
        reinitialize_(model, seed=0)
    assert differ(model.state_dict(), before) == []


def test_a_builder_without_a_seed_draws_from_it():
    one, two, other = Positions(), Positions(), Positions()
    for model, seed in ((one, 4), (two, 4), (other, 5)):
        reinitialize_(model, seed=seed, build=lambda seed: Positions())
    assert differ(one.state_dict(), two.state_dict()) == []
    assert differ(one.state_dict(), other.state_dict()) == ["table", "inner.weight", "inner.bias"]


class Composite(nn.Module):
    """Draws for its child after the child did, as its constructor does."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.zeros_(self.inner.bias)


def test_inner_modules_draw_first_and_tied_ones_once():
    model = Composite()
    nn.init.ones_(model.inner.bias)
    assert not bool(reinitialize_(model, seed=0).inner.bias.any())
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    reinitialize_(tied, seed=0)
    assert tied[1].weight is tied[0].weight


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda seed: Positions(wide=True), "a model with the same names; got \"another 'extra.bias'\""),
        (Composite, r"given its own arguments \(\); got 'with seed'"),
        (lambda seed: None, "a function that gives an nn.Module; got 'NoneType'"),
    ],
)
def test_a_builder_of_something_else_is_refused(build, said):
    with pytest.raises(ValueError, match=said):
        reinitialize_(Positions(), seed=0, build=build)


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match=r"reinitialize_\(model=\) must be an nn.Module; got 'Linear'"):
        reinitialize_(nn.Linear, seed=0)
