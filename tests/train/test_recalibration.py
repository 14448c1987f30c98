"""Running statistics after ``recalibrate`` are those of the data; everything else is as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowprune as fp


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3 + 5


def network(first=2):
    layers = nn.Conv2d(first, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("sizes", [(8,), (4, 4), (2, 5, 1), (7, 1, 1, 3)])
def test_the_first_layer_has_the_statistics_of_the_data_however_it_is_cut_into_batches(sizes):
    data = drawn(sum(sizes), 2, 5, 5)
    model = nn.Sequential(nn.BatchNorm2d(2)).double()
    assert fp.recalibrate(model, list(data.split(sizes))) == ("0",)
    variance, mean = torch.var_mean(data, dim=(0, 2, 3))
    torch.testing.assert_close(model[0].running_mean, mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(model[0].running_var, variance, rtol=1e-13, atol=0)
    assert int(model[0].num_batches_tracked) == len(sizes)


def test_a_later_layer_sees_what_training_would_show_it():
    model, data = network(), drawn(6, 2, 9, 9)
    fp.recalibrate(model, [data])
    conv, norm = model[0], model[1]
    hidden = model[4](torch.relu(nn.functional.batch_norm(conv(data), None, None, norm.weight, norm.bias, True)))
    torch.testing.assert_close(model[5].running_mean, hidden.mean((0, 2, 3)).detach())
    torch.testing.assert_close(model[5].running_var, hidden.var((0, 2, 3)).detach())


def test_after_one_batch_evaluation_gives_what_training_gives():
    model, data = network(), drawn(64, 2, 9, 9)
    fp.recalibrate(model, [data])
    assert isinstance(model[3], nn.Dropout)
    model[3].p = 0.0
    torch.testing.assert_close(model.eval()(data), model.train()(data), rtol=1e-2, atol=1e-2)  # n - 1 against n


def test_it_pays_after_a_cut():
    """Channels that summed into the next norm are gone: its old mean is off, and the output with it."""
    torch.manual_seed(0)
    model, data = network(), drawn(32, 2, 9, 9)
    fp.recalibrate(model, [data])
    small = fp.remove(model, {"0.weight": torch.tensor([True, True, False, False])}, example_inputs=data[:2])
    small.eval()
    before = small(data).mean((0, 2, 3)).abs().max()
    fp.recalibrate(small, [data])
    after = small(data).mean((0, 2, 3)).abs().max()
    assert before > 0.1
    assert after < before / 100  # not 0: a batch is normalised by its own, biased variance


def test_everything_else_is_left_as_found():
    model, data = network().train(), drawn(4, 2, 9, 9)
    model[4].eval()
    model[1].momentum, model[5].momentum = None, 0.3
    model[0].weight.grad = torch.ones_like(model[0].weight)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    objects, random = dict(model.named_buffers()), torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    fp.recalibrate(model, [(data, None)])
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(random, torch.get_rng_state())
    assert (model[1].momentum, model[5].momentum) == (None, 0.3)
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model[4].weight.grad is None
    assert all(buffer is objects[name] for name, buffer in model.named_buffers())
    assert not any(module._forward_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]) == ("running" not in name and "num" not in name), name


def failing(kind):
    data = drawn(4, 2, 9, 9)
    if kind == "single":
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(162)).double(), [data, data[:1]], "two values per channel"
    if kind == "nan":
        return network(), [data, data * float("nan")], "finite everywhere"
    if kind == "late":
        return network(), [data, drawn(4, 3, 9, 9)], "channels"
    return network(), [], "at least one batch"


@pytest.mark.parametrize("kind", ["single", "nan", "late", "none"])
def test_nothing_is_changed_when_it_fails(kind):
    model, batches, said = failing(kind)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises((ValueError, RuntimeError), match=said):
        fp.recalibrate(model, batches)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert {m.momentum for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)} == {0.1}
    assert not any(module._forward_hooks for module in model.modules())


def test_statistics_that_were_broken_are_mended():
    model = network()
    model[1].running_var.fill_(float("nan"))
    fp.recalibrate(model, [drawn(4, 2, 9, 9)])
    assert torch.isfinite(model[1].running_var).all()


def test_a_layer_that_is_called_twice_pools_both_and_one_that_is_not_reached_stays():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.unused, self.untracked = nn.BatchNorm1d(1), nn.BatchNorm1d(1), nn.BatchNorm1d(1)
            self.untracked = nn.BatchNorm1d(1, track_running_stats=False)

        def forward(self, a, b):
            return self.untracked(self.norm(a) + self.norm(b))

    model, a, b = Twice().double(), drawn(3, 1), drawn(3, 1, seed=1)
    assert fp.recalibrate(model, [((a, b), None)]) == ("norm",)
    torch.testing.assert_close(model.norm.running_mean, torch.cat([a, b]).mean(0))
    torch.testing.assert_close(model.norm.running_var, torch.cat([a, b]).var(0))
    assert int(model.unused.num_batches_tracked) == 0


def test_a_model_without_batch_norms_is_told():
    with pytest.raises(ValueError, match=r"recalibrate\(model=\) must be a model with batch norms"):
        fp.recalibrate(nn.Linear(2, 2), [torch.ones(2, 2)])


def test_one_batch_in_place_of_a_list_is_told():
    with pytest.raises(ValueError, match=r"recalibrate\(batches=\) must be an iterable of batches"):
        fp.recalibrate(network(), drawn(4, 2, 9, 9))
