"""What goes with a model in training, after a cut: as if the masked model had been trained on."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ChainedScheduler, CosineAnnealingLR, ReduceLROnPlateau, SequentialLR, StepLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import flowprune as fp
from flowprune.structure import cut_
from tests.plan.training import OPTIMIZERS, in_rounds, kept_entries, masked_twin, subject, train
from tests.structure.comparing import images
from tests.structure.removable import Separable

every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def close(a, b):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-9, atol=1e-11)


def removed(model, masks):
    return fp.remove(model, masks, example_inputs=images())


@every_optimizer
@pytest.mark.parametrize("way", ["copy", "state"])
def test_training_goes_on_as_that_of_the_masked_model(name, way):
    """Weights of kept channels and their momenta, after two more steps of both."""
    model, optimizer, masks = subject(name)
    masked, expected = masked_twin(model, optimizer, masks)
    small = removed(model, masks)
    if way == "copy":
        fp.carry(small, optimizer=optimizer, before=model)
    else:
        state = fp.carry_state(small, optimizer.state_dict())
        optimizer = OPTIMIZERS[name](small.parameters())
        optimizer.load_state_dict(state)
    train(masked, expected, steps=2)
    train(small, optimizer, steps=2)
    plan = fp.plan.plan_of(small)
    close(dict(small.named_parameters()), kept_entries(plan, dict(masked.named_parameters())))
    for key in expected.state[masked.stem.weight]:
        own = {n: optimizer.state[p][key] for n, p in small.named_parameters() if p in optimizer.state}
        full = {n: expected.state[p][key] for n, p in masked.named_parameters() if p in expected.state}
        if own and next(iter(own.values())).dim():
            close(own, kept_entries(plan, full))


@every_optimizer
def test_one_step_with_the_same_gradient_is_exact(name):
    model, optimizer, masks = subject(name)
    masked, expected = masked_twin(model, optimizer, masks)
    small = removed(model, masks)
    fp.carry(small, optimizer=optimizer, before=model)
    plan = fp.plan.plan_of(small)
    gradients = {n: torch.randn_like(p) for n, p in masked.named_parameters()}
    for n, gradient in kept_entries(plan, gradients).items():
        small.get_parameter(n).grad = gradient
        masked.get_parameter(n).grad = gradients[n].clone()  # some steps change the gradient
    optimizer.step()
    expected.step()
    tolerance = 1e-14 if name.endswith(("foreach", "fused")) else 0  # vector lanes and their tail round differently
    for n, value in kept_entries(plan, dict(masked.named_parameters())).items():
        torch.testing.assert_close(small.get_parameter(n), value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("flag", ["foreach", "fused"])
def test_flags_groups_and_hyper_parameters_stay(flag):
    model, _, masks = subject()
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "lr": 0.1, "weight_decay": 0.1}]
    groups.append({"params": [p for p in model.parameters() if p.dim() == 1], "lr": 0.2})
    optimizer = torch.optim.AdamW(groups, **{flag: True})
    train(model, optimizer)
    small = removed(model, masks)
    fp.carry(small, optimizer=optimizer, before=model)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]
    assert all(group[flag] for group in optimizer.param_groups)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in small.parameters())
    train(small, optimizer)


def test_a_second_carry_of_a_copy_does_nothing():
    """Also once the model trained on, and with the dense model still passed."""
    model, optimizer, masks = subject("adam")
    small = removed(model, masks)
    for before in (model, model, None, nn.Linear(2, 2)):
        fp.carry(small, optimizer=optimizer, before=before)
        held = [id(p) for group in optimizer.param_groups for p in group["params"]]
        assert held == [id(p) for p in small.parameters()]
        train(small, optimizer, steps=1)
        moment = {name: optimizer.state[p]["exp_avg"].clone() for name, p in small.named_parameters()}
    fp.carry(small, optimizer=optimizer, before=model)
    assert all(torch.equal(optimizer.state[p]["exp_avg"], moment[name]) for name, p in small.named_parameters())


def test_what_else_an_optimizer_trains_stays_with_it():
    model, _, masks = subject()
    small = removed(model, masks)
    head = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([*model.parameters(), head], lr=0.1)
    for _ in range(2):
        fp.carry(small, optimizer=optimizer, before=model)
        assert [id(p) for p in optimizer.param_groups[0]["params"]] == [*map(id, small.parameters()), id(head)]


def averaged(model):
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))


def test_an_average_goes_on_as_that_of_the_masked_model():
    model, optimizer, masks = subject()
    ema = averaged(model)
    train(model, optimizer)
    ema.update_parameters(model)
    masked, expected = masked_twin(model, optimizer, masks)
    masked_ema = copy.deepcopy(ema)
    small = removed(model, masks)
    fp.carry(small, optimizer=optimizer, before=model, ema=ema)
    assert int(ema.n_averaged) == 1
    for one, its, average in ((masked, expected, masked_ema), (small, optimizer, ema)):
        train(one, its)
        average.update_parameters(one)
    plan = fp.plan.plan_of(small)
    close(dict(ema.module.named_parameters()), kept_entries(plan, dict(masked_ema.module.named_parameters())))
    assert ema.module.stem.out_channels == small.stem.out_channels
    assert fp.plan.plan_of(ema.module).units == plan.units


def test_an_average_catches_up_with_several_rounds_of_a_pruner():
    model, optimizer, _ = subject()
    ema = averaged(model)
    x = images()
    pruner = in_rounds(model, optimizer, x)
    shadow = {n: p.detach().clone() for n, p in model.named_parameters()}
    dense = dict(shadow)
    for carried in (True, False, True):
        pruner.step([(x, x)])
        if carried:
            fp.carry(model, ema=ema, optimizer=optimizer)
            fp.carry(model, ema=shadow)
            fp.carry(model, ema=shadow)  # once too often
            ema.update_parameters(model)
    close(shadow, kept_entries(fp.plan.plan_of(model), dense))
    assert [p.shape for p in ema.module.parameters()] == [p.shape for p in model.parameters()]


@pytest.mark.parametrize("prefix", ["", "module."])
def test_shadow_tensors_of_a_saved_plan(tmp_path, prefix):
    model, _, masks = subject()
    shadow = {prefix + n: torch.randn_like(p) for n, p in model.named_parameters()}
    shadow["n_averaged"] = torch.tensor(3)
    expected = kept_entries(
        fp.plan.plan_of(removed(model, masks)), {n.removeprefix(prefix): t for n, t in shadow.items()}
    )
    fp.save(removed(model, masks), tmp_path)
    fp.carry(tmp_path, ema=shadow)
    assert {n.removeprefix(prefix) for n in shadow} == set(expected)
    assert all(torch.equal(value, expected[n.removeprefix(prefix)]) for n, value in shadow.items())


def test_an_average_of_masked_weights_is_masked():
    model, optimizer, _ = subject()
    ema, shadow = averaged(model), {n: p.detach().clone() for n, p in model.named_parameters()}
    masks = fp.select({"pw.weight": model.pw.weight.detach().abs()}, sparsity=0.5)
    fp.apply(model, masks)
    fp.carry(model, ema=ema)
    fp.carry(model, ema=shadow)
    train(model, optimizer)
    ema.update_parameters(model)
    assert not ema.module.pw.weight[~masks["pw.weight"]].any()
    assert not shadow["pw.weight"][~masks["pw.weight"]].any()
    assert shadow["pw.weight"][masks["pw.weight"]].all()
    fp.check_zeros(ema.module)


SCHEDULERS = {
    "step": lambda o: StepLR(o, 1, gamma=0.5),
    "sequential": lambda o: SequentialLR(o, [StepLR(o, 1), CosineAnnealingLR(o, 4)], milestones=[2]),
    "chained": lambda o: ChainedScheduler([StepLR(o, 1), CosineAnnealingLR(o, 4)]),
    "plateau": lambda o: ReduceLROnPlateau(o, patience=0),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_rates_go_on_as_they_would_have(name):
    model, optimizer, masks = subject("sgd", steps=1)
    scheduler = SCHEDULERS[name](optimizer)
    masked, expected = masked_twin(model, optimizer, masks)
    other = SCHEDULERS[name](expected)
    small = removed(model, masks)
    fp.carry(small, optimizer=optimizer, before=model, scheduler=scheduler)
    for one, its, rates in ((small, optimizer, scheduler), (masked, expected, other)):
        for _ in range(3):
            train(one, its)
            rates.step(*([1.0] if name == "plateau" else []))
    assert [g["lr"] for g in optimizer.param_groups] == [g["lr"] for g in expected.param_groups]
    with pytest.raises(ValueError, match=r"carry\(scheduler=\) must be of this optimizer"):
        fp.carry(small, optimizer=optimizer, scheduler=other)


def test_a_gradient_scaler_needs_nothing():
    model, optimizer, masks = subject()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    small = removed(model, masks)
    fp.carry(small, optimizer=optimizer, before=model)
    before = scaler.state_dict()
    scaler.scale(small.train()(images()).square().mean()).backward()
    scaler.step(optimizer)
    assert scaler.state_dict() == before


def test_a_cut_in_place():
    model, optimizer, masks = subject()
    ema = averaged(model)
    plan = cut_(model, masks.layout, masks)
    fp.carry(plan, optimizer=optimizer, ema=ema)
    again = cut_(model, fp.trace(model, images()), {"stem.weight": torch.arange(model.stem.out_channels) > 0})
    fp.carry(again, optimizer=optimizer, ema=ema)
    assert fp.plan.plan_of(ema.module).units == fp.plan.plan_of(model).units
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in model.parameters()}
    train(model, optimizer)
    ema.update_parameters(model)


def test_states_of_other_orders_and_of_named_parameters(tmp_path):
    model, _, masks = subject()
    small = removed(model, masks)
    fp.save(small, tmp_path)
    named = sorted(model.named_parameters())
    decayed = [(n, p) for n, p in named if p.dim() > 1]
    rest = [(n, p) for n, p in named if p.dim() == 1]
    for groups, names in (
        ([{"params": decayed}, {"params": rest}], None),
        ([{"params": [p for _, p in decayed]}, {"params": [p for _, p in rest]}], [n for n, _ in decayed + rest]),
    ):
        optimizer = torch.optim.Adam(groups)
        train(model, optimizer)
        state = fp.carry_state(tmp_path, optimizer.state_dict(), names=names)
        order = [n for n, _ in decayed + rest]
        expected = {n: optimizer.state[model.get_parameter(n)]["exp_avg"] for n in order}
        for number, name in enumerate(order):
            value = kept_entries(fp.plan.read_plan(tmp_path), expected)[name]
            assert torch.equal(state["state"][number]["exp_avg"], value)
    with pytest.raises(ValueError, match="Pass names="):
        fp.carry_state(tmp_path, optimizer.state_dict())
    with pytest.raises(ValueError, match=r"among them 'stem\.wait'"):
        fp.carry_state(tmp_path, optimizer.state_dict(), names=["stem.wait"])
    with pytest.raises(ValueError, match=r"what optimizer.state_dict\(\) gave"):
        fp.carry_state(tmp_path, model.state_dict())


def test_nothing_is_changed_where_something_does_not_fit():
    model, optimizer, masks = subject()
    small = removed(model, masks)
    before = [id(p) for g in optimizer.param_groups for p in g["params"]]
    shadow = {n: p.detach().clone() for n, p in model.named_parameters()}
    wrong = {**shadow, "stem.weight": torch.zeros(7, 3)}
    for given, said in (
        ({"ema": wrong}, r"carry\(ema=\) must be of the model that was cut, in which stem.weight was"),
        ({"ema": {"a": torch.ones(1)}}, "by the model's names"),
        ({"ema": 3}, "a dictionary of tensors"),
        ({"ema": nn.Linear}, "a module, or a dictionary of tensors by parameter name; got 'Linear'"),
        ({"ema": nn.Linear(2, 2)}, r"of the model that was cut, which has no 'weight'; got \(2, 2\)"),
        ({"ema": averaged(Separable(2).double())}, r"carry\(ema=\)"),
    ):
        with pytest.raises(ValueError, match=said):
            fp.carry(small, optimizer=optimizer, before=model, **given)
    with pytest.raises(ValueError, match=r"carry\(before=\)"):
        fp.carry(small, optimizer=optimizer)
    with pytest.raises(ValueError, match=r"carry\(before=\)"):
        fp.carry(small, optimizer=optimizer, before=nn.Linear(2, 2))
    with pytest.raises(ValueError, match="carry_state"):
        fp.carry(fp.plan.plan_of(small), optimizer=optimizer, before=model)
    optimizer.state[model.stem.weight]["sketch"] = torch.zeros(7)
    with pytest.raises(fp.PruningError, match="'sketch'"):
        fp.carry(small, optimizer=optimizer, before=model, ema=shadow)
    with pytest.raises(fp.PruningError, match=r"carry_state\(state=\).*'sketch'"):
        fp.carry_state(small, optimizer.state_dict())
    assert [id(p) for g in optimizer.param_groups for p in g["params"]] == before
    assert all(torch.equal(value, model.get_parameter(n)) for n, value in shadow.items())
