"""The optimizer after a cut, against state sliced by hand, bit by bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from flowprune.core.errors import PruningError
from flowprune.core.optimizer_state import assert_live, check_followable, follow, held_names

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
}
KEPT = ((0, torch.tensor([0, 2, 3])), (1, torch.tensor([1, 2])))


def trained(name):
    torch.manual_seed(0)
    weight, bias = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(4))
    optimizer = OPTIMIZERS[name]([{"params": [weight], "lr": 0.05}, {"params": [bias]}])
    for _ in range(3):
        optimizer.zero_grad()
        (weight.square().sum() + bias.sum()).backward()
        optimizer.step()
    return weight, bias, optimizer


def smaller(weight):
    return nn.Parameter(weight.detach()[KEPT[0][1]][:, KEPT[1][1]].clone())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_is_sliced_bit_by_bit(name):
    weight, bias, optimizer = trained(name)
    before, other = copy.deepcopy(dict(optimizer.state[weight])), copy.deepcopy(dict(optimizer.state[bias]))
    new = smaller(weight)
    follow(optimizer, {weight: (new, KEPT)})
    assert weight not in optimizer.state
    assert optimizer.state[new].keys() == before.keys()
    for key, value in before.items():
        expected = value[KEPT[0][1]][:, KEPT[1][1]] if torch.is_tensor(value) and value.dim() == 4 else value
        assert torch.equal(torch.as_tensor(optimizer.state[new][key]), torch.as_tensor(expected)), key
    for key, value in other.items():
        assert torch.equal(torch.as_tensor(optimizer.state[bias][key]), torch.as_tensor(value)), key


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_next_step_is_the_slice_of_the_whole_step(name):
    weight, _, optimizer = trained(name)
    twin_weight, _, twin = trained(name)
    new = smaller(weight)
    follow(optimizer, {weight: (new, KEPT)})
    for w, o in ((new, optimizer), (twin_weight, twin)):
        w.grad = 2 * w.detach()
        o.step()
    assert torch.equal(new, twin_weight.detach()[KEPT[0][1]][:, KEPT[1][1]])


def test_groups_keep_their_settings_and_order():
    weight, bias, optimizer = trained("sgd")
    new = smaller(weight)
    follow(optimizer, {weight: (new, KEPT)})
    assert [[id(p) for p in group["params"]] for group in optimizer.param_groups] == [[id(new)], [id(bias)]]
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.1]


def test_reset_drops_the_state_of_replaced_parameters_only():
    weight, bias, optimizer = trained("adam")
    new = smaller(weight)
    follow(optimizer, {weight: (new, KEPT)}, reset=True)
    assert new not in optimizer.state
    assert int(optimizer.state[bias]["step"]) == 3


def test_dead_parameters_are_dropped():
    weight, bias, optimizer = trained("adam")
    follow(optimizer, {weight: None})
    assert [p is bias for group in optimizer.param_groups for p in group["params"]] == [True]
    assert list(optimizer.state) == [bias]


def test_parameters_that_the_optimizer_does_not_hold_are_ignored():
    _, _, optimizer = trained("sgd")
    stranger = nn.Parameter(torch.ones(3))
    follow(optimizer, {stranger: (nn.Parameter(torch.ones(2)), ((0, torch.tensor([0, 1])),))})
    assert len(optimizer.state) == 2


def test_averages_over_an_axis_are_sliced_along_the_others():
    """Adafactor keeps a row and a column instead of a matrix."""
    weight = nn.Parameter(torch.randn(4, 3))
    optimizer = torch.optim.Adafactor([weight])
    weight.grad = torch.randn(4, 3)
    optimizer.step()
    before = copy.deepcopy(dict(optimizer.state[weight]))
    new = nn.Parameter(weight.detach()[[0, 2]].clone())
    follow(optimizer, {weight: (new, ((0, torch.tensor([0, 2])),))})
    state = optimizer.state[new]
    assert torch.equal(state["row_var"], before["row_var"][[0, 2]])
    assert torch.equal(state["col_var"], before["col_var"])
    new.grad = torch.randn(2, 3)
    optimizer.step()


def test_state_of_an_unknown_shape_stops_before_anything_changes():
    weight, _, optimizer = trained("sgd")
    optimizer.state[weight]["sketch"] = torch.zeros(7)
    with pytest.raises(PruningError, match=r"'sketch' has shape \(7,\).*reset=True"):
        follow(optimizer, {weight: (smaller(weight), KEPT)})
    assert optimizer.param_groups[0]["params"][0] is weight


def test_live():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    held = held_names(optimizer, model)
    assert held == {name for name, _ in model.named_parameters()}
    assert_live(optimizer, model, held=held)
    partial = torch.optim.SGD(model[1].parameters(), lr=0.1)
    assert_live(partial, model)
    with pytest.raises(PruningError, match=r"each of its parameters once.*0.bias"):
        assert_live(partial, model, held=held)


def test_dead_parameters_and_wrong_shapes_are_named():
    model = nn.Linear(3, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    optimizer.state[model.weight]["momentum_buffer"] = torch.zeros(2, 3)
    with pytest.raises(PruningError, match=r"'momentum_buffer' of 'weight' has \(2, 3\) for \(4, 3\)"):
        assert_live(optimizer, model)
    model.weight = nn.Parameter(torch.zeros(2, 3))
    with pytest.raises(PruningError, match=r"1 of 2 belong to no module.*follow"):
        assert_live(optimizer, model)


def lbfgs_step(optimizer, weight, bias):
    def closure():
        optimizer.zero_grad()
        loss = (weight - 1).square().sum() + (bias + 2).square().sum()
        loss.backward()
        return loss

    return float(optimizer.step(closure).detach()), float(closure().detach())


def test_a_fresh_lbfgs_trains_on():
    weight, bias, _ = trained("sgd")
    optimizer = torch.optim.LBFGS([weight, bias], lr=0.5)
    assert optimizer._numel() == weight.numel() + bias.numel()
    new = smaller(weight)
    follow(optimizer, {weight: (new, KEPT)})
    before, after = lbfgs_step(optimizer, new, bias)
    assert after < 0.1 * before


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_a_used_lbfgs_is_refused_and_can_be_reset(first):
    """Its state lies with the first parameter, whichever is cut."""
    weight, bias, _ = trained("sgd")
    optimizer = torch.optim.LBFGS([weight, bias] if first else [bias, weight], lr=0.1)
    lbfgs_step(optimizer, weight, bias)
    new = smaller(weight)
    for attempt in (lambda: check_followable(optimizer, [weight]), lambda: follow(optimizer, {weight: (new, KEPT)})):
        with pytest.raises(PruningError, match=r'LBFGS keeps one state.*momentum="reset"'):
            attempt()
    check_followable(optimizer, [nn.Parameter(torch.ones(2))])
    follow(optimizer, {weight: (new, KEPT)}, reset=True)
    before, after = lbfgs_step(optimizer, new, bias)
    assert after < before


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_can_be_sliced_is_followable(name):
    weight, bias, optimizer = trained(name)
    check_followable(optimizer, iter([weight, bias]))


@pytest.mark.parametrize(
    "value", [torch.zeros(7), torch.zeros(4, 3, 3), [torch.zeros(4, 3, 3, 3)], {"q": torch.zeros(2)}]
)
def test_what_cannot_be_sliced_is_known_before_the_cut(value):
    weight, _, optimizer = trained("adam")
    optimizer.state[weight]["sketch"] = value
    with pytest.raises(PruningError, match=r"'sketch' has .*momentum=\"reset\""):
        check_followable(optimizer, [weight])
    with pytest.raises(PruningError, match="'sketch' has"):
        follow(optimizer, {weight: (smaller(weight), KEPT)})
    assert optimizer.param_groups[0]["params"][0] is weight
    follow(optimizer, {weight: (smaller(weight), KEPT)}, reset=True)


def test_the_lists_of_the_groups_stay_the_same_objects():
    weight, _, optimizer = trained("sgd")
    lists = [group["params"] for group in optimizer.param_groups]
    follow(optimizer, {weight: (smaller(weight), KEPT)})
    assert all(a is group["params"] for a, group in zip(lists, optimizer.param_groups, strict=True))
