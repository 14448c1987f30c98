"""The Hessian times any direction, against a dense Hessian."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian

import flowprune as fp
from flowprune.core.errors import PruningError
from flowprune.objectives import cross_entropy
from flowprune.signals import gather, hessian_product


def case(**kind) -> tuple[nn.Module, list, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4)).double()
    batches = [(torch.randn(n, 3).double(), torch.arange(n) % 4) for n in (70, 11)]
    model.train()(batches[0][0])
    return model, batches, {name: torch.randn_like(p) for name, p in model.named_parameters()}


def dense(model: nn.Module, batches: list, v: dict) -> dict[str, torch.Tensor]:
    """The whole Hessian of the loss of all examples together, times v."""
    x, y = (torch.cat([batch[i] for batch in batches]) for i in (0, 1))
    twin = copy.deepcopy(model).eval()
    point = {name: p.detach() for name, p in twin.named_parameters()}
    whole = hessian(lambda at: nn.functional.cross_entropy(functional_call(twin, at, (x,)), y))(point)
    return {name: sum(torch.tensordot(whole[name][other], v[other], v[other].dim()) for other in v) for name in point}


def test_it_is_the_dense_hessian_times_the_direction_over_all_examples() -> None:
    model, batches, v = case()
    expected = dense(model, batches, v)
    for micro_batch in (64, 5):
        for given in (batches, iter(batches)):
            found = hessian_product(model, cross_entropy(), given, v, micro_batch=micro_batch)
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


def test_along_the_gradient_it_is_what_is_gathered() -> None:
    model, batches, _ = case()
    signals = gather(model, cross_entropy(), batches, needs=("hessian_gradient",))
    found = hessian_product(model, cross_entropy(), batches, signals.gradient)
    assert all(torch.equal(found[name], value) for name, value in signals.hessian_gradient.items())


def test_a_part_of_a_direction_is_enough_and_the_model_is_left_as_found() -> None:
    model, batches, v = case()
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    part = {"0.weight": v["0.weight"].float()}
    expected = dense(model, batches, {"0.weight": part["0.weight"].double()})
    found = hessian_product(model, cross_entropy(), batches, part)
    torch.testing.assert_close(found["3.bias"], expected["3.bias"], rtol=1e-9, atol=1e-12)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert torch.equal(random, torch.get_rng_state())
    train = hessian_product(model, cross_entropy(), batches, part, mode="train")
    assert not torch.allclose(train["0.weight"], found["0.weight"])
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())


def test_what_is_held_at_zero_is_no_variable() -> None:
    model, batches, v = case()
    keep = torch.arange(15).view(5, 3) % 2 == 0
    fp.apply(model, {"0.weight": keep})
    found = hessian_product(model, cross_entropy(), batches, v)
    expected = dense(model, batches, {**v, "0.weight": v["0.weight"] * keep})
    assert not found["0.weight"][~keep].any()
    torch.testing.assert_close(found["0.weight"][keep], expected["0.weight"][keep], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found["3.weight"], expected["3.weight"], rtol=1e-9, atol=1e-12)


def test_what_is_refused() -> None:
    model, batches, v = case()
    model[3].bias.requires_grad_(False)
    nan = torch.full_like(v["0.bias"], torch.nan)
    for direction, said in (
        ({"w": v["0.bias"]}, r"hessian_product\(direction=\) has no 'w'"),
        ({"0.bias": v["0.weight"]}, r"hessian_product\(direction=\): '0.bias' must be of shape \(5,\)"),
        ({"3.bias": v["3.bias"]}, r"hessian_product\(direction=\) must be along trainable parameters; got '3.bias'"),
        ({"0.bias": nan}, r"hessian_product\(direction=\) must be finite everywhere"),
    ):
        with pytest.raises(ValueError, match=said):
            hessian_product(model, cross_entropy(), batches, direction)
    assert "3.bias" not in hessian_product(model, cross_entropy(), batches, {"3.bias": 0 * v["3.bias"]})
    with pytest.raises(ValueError, match=r"hessian_product\(batches=\) must be an iterable with at least one batch"):
        hessian_product(model, cross_entropy(), [], {})

    def noisy(forward, batch):
        return cross_entropy()(forward, batch) * (1 + torch.rand(()))

    calls = iter(range(10**6))

    def changing(forward, batch):
        return cross_entropy()(forward, batch) * (1 + next(calls))

    hessian_product(model, noisy, batches, {})  # its noise is that of the global generator
    with pytest.raises(PruningError, match=r"^hessian_product\(\) ran the model twice"):
        hessian_product(model, changing, batches, {})
