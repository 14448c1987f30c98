"""Compensation against least squares row by row, its laws, and what is refused."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import flowprune as fp
from flowprune.masks.compensation.solution import Problem, solved


def drawn(shape, density, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density


def correlated(rows, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.randn(rows, width, generator=generator, dtype=torch.float64) @ mix + 0.5


def linear(inputs, outputs, *, bias=True, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias).double()


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def least_squares(x, y, keep):
    """Row by row, by numpy: x ``(n, D)``, y ``(n, outputs)``, keep ``(outputs, D)``."""
    rows = np.zeros(keep.shape)
    for row, kept in enumerate(keep.numpy()):
        rows[row, kept] = np.linalg.lstsq(x.numpy()[:, kept], y.numpy()[:, row], rcond=None)[0]
    return torch.from_numpy(rows)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("density", [0.2, 0.8])
def test_each_row_is_a_least_squares_solution(bias, sequential, density):
    layer, x = linear(12, 7, bias=bias), correlated(200, 12)
    mask, y = drawn((7, 12), density), layer(x).detach()
    fp.compensate(layer, {"weight": mask}, [x[:50], x[50:]], damping=0, sequential=sequential)
    ones = torch.ones(200, 1, dtype=torch.float64)
    wide, keep = (torch.cat([x, ones], 1), torch.cat([mask, torch.ones(7, 1) > 0], 1)) if bias else (x, mask)
    expected = least_squares(wide, y, keep)
    torch.testing.assert_close(layer.weight.detach(), expected[:, :12], rtol=1e-8, atol=1e-9)
    if bias:
        torch.testing.assert_close(layer.bias.detach(), expected[:, 12], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("damping", [0.0, 0.01, 1.0])
def test_the_gradient_of_kept_entries_is_zero(damping):
    """KKT of E(w·x − ŵ·x)² + λ‖ŵ − w‖²."""
    layer, x = linear(10, 6, bias=False), correlated(100, 10)
    before, mask = layer.weight.detach().clone(), drawn((6, 10), 0.6)
    fp.compensate(layer, {"weight": mask}, [x], damping=damping)
    free = layer.weight.detach().clone().requires_grad_(True)
    penalty = damping * x.square().mean()
    loss = ((x @ (free - before).mT) ** 2).sum(1).mean() + penalty * (free - before).square().sum()
    (gradient,) = torch.autograd.grad(loss, free)
    assert float(gradient[mask].abs().max()) < 1e-9
    assert float(gradient[~mask].abs().max()) > 1e-3


def test_one_cut_weight_is_the_optimal_brain_surgeon():
    layer, x = linear(8, 1, bias=False), correlated(60, 8)
    w, mask = layer.weight.detach().clone(), torch.arange(8)[None] != 3
    fp.compensate(layer, {"weight": mask}, [x], damping=0)
    inverse = torch.linalg.inv(x.mT @ x / 60)
    torch.testing.assert_close(layer.weight.detach() - w, (-w[0, 3] / inverse[3, 3] * inverse[:, 3])[None])


def test_both_ways_to_solve_agree():
    """Many rows that cut few go through the inverse of all; alone, a row does not."""
    x, width = correlated(400, 40), 40
    second = x.mT @ x / 400
    weights, keep = torch.randn(60, width, dtype=torch.float64), drawn((60, width), 0.9, seed=1)
    penalty = torch.full((width,), 1e-3, dtype=torch.float64)
    together = solved(Problem(second, weights, keep, None, None, penalty))[0]
    alone = [
        solved(Problem(second, w[None], k[None], None, None, penalty))[0] for w, k in zip(weights, keep, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-8, atol=1e-9)
    assert bool((together[~keep] == 0).all())


@pytest.mark.parametrize("sequential", [True, False])
def test_cut_inputs_that_follow_from_kept_ones_cost_nothing(sequential):
    layer, base = linear(9, 5), correlated(80, 6)
    x = torch.cat([base, base[:, :3] @ torch.randn(3, 3, dtype=torch.float64) + 2.0], 1)
    mask, y = (torch.arange(9) < 6).expand(5, 9), layer(x).detach()
    record = fp.compensate(layer, {"weight": mask}, [x], damping=0, sequential=sequential)
    torch.testing.assert_close(layer(x), y)
    assert record.layers["weight"].before > 0.01
    assert record.layers["weight"].after < 1e-12


@pytest.mark.parametrize("damping", [0.0001, 0.01, 10.0])
@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_layer_gets_worse_than_masked(damping, sequential, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 3)).to(dtype)
    masks = {f"{i}.weight": drawn(model[i].weight.shape, 0.4, seed=i) for i in (0, 2, 4)}
    record = fp.compensate(model, masks, [correlated(64, 8).to(dtype)], damping=damping, sequential=sequential)
    assert set(record.layers) == set(masks)
    assert all(0 <= each.after <= each.before for each in record.layers.values())


def test_the_errors_are_those_of_the_layer():
    layer, x = linear(10, 6), correlated(100, 10)
    mask, y = drawn((6, 10), 0.5), layer(x).detach()
    alone = fp.apply(copy.deepcopy(layer), {"weight": mask})
    record = fp.compensate(layer, {"weight": mask}, [x])

    def missed(model):
        return float((model(x).detach() - y).square().sum() / y.square().sum())

    assert record.layers["weight"].before == pytest.approx(missed(alone))
    assert record.layers["weight"].after == pytest.approx(missed(layer))


CONVOLUTIONS = [
    (nn.Conv2d(3, 5, 3, stride=2, padding=1), (6, 3, 9, 8)),
    (nn.Conv2d(4, 6, (3, 2), dilation=(2, 1), padding=(2, 0), groups=2, bias=False), (6, 4, 9, 8)),
    (nn.Conv2d(4, 4, 3, groups=4, padding="same", padding_mode="reflect"), (6, 4, 7, 7)),
    (nn.Conv1d(3, 4, 4, stride=3, padding=2, padding_mode="circular"), (9, 3, 11)),
    (nn.Conv3d(2, 3, 2, padding=1), (3, 2, 4, 4, 4)),
]


@pytest.mark.parametrize(("module", "shape"), CONVOLUTIONS)
def test_a_convolution_is_least_squares_of_its_unfolded_input(module, shape):
    """Its inputs by position come from the layer itself: filter entry j alone gives column j."""
    torch.manual_seed(1)
    conv = copy.deepcopy(module).double()
    x, mask = torch.randn(shape).double(), drawn(conv.weight.shape, 0.5)
    y = conv(x).detach()
    columns = []
    for place in range(conv.weight[0].numel()):
        single = torch.zeros_like(conv.weight)
        single.view(len(single), -1)[:, place] = 1.0
        columns.append(conv._conv_forward(x, single, None).detach())
    unfolded = torch.stack(columns, -1).transpose(0, 1).flatten(1, -2)  # outputs, positions, D
    fp.compensate(conv, {"weight": mask}, [x], damping=0)
    for row in range(len(conv.weight)):
        kept = mask[row].flatten()
        seen = unfolded[row][:, kept]
        if conv.bias is not None:
            seen = torch.cat([seen, torch.ones(len(seen), 1).double()], 1)
        found = torch.from_numpy(np.linalg.lstsq(seen.numpy(), y[:, row].flatten().numpy(), rcond=None)[0])
        torch.testing.assert_close(conv.weight[row].detach().flatten()[kept], found[: int(kept.sum())])
        if conv.bias is not None:
            torch.testing.assert_close(conv.bias[row].detach(), found[-1])


def test_a_convolution_is_the_linear_layer_of_its_unfolded_input():
    torch.manual_seed(0)
    conv, x = nn.Conv2d(3, 4, 3, padding=1).double(), torch.randn(5, 3, 6, 6).double()
    flat = nn.Linear(27, 4).double()
    flat.weight.data, flat.bias.data = conv.weight.detach().flatten(1).clone(), conv.bias.detach().clone()
    mask = drawn((4, 27), 0.5)
    rows = functional.unfold(x, 3, padding=1).mT.reshape(-1, 27)
    fp.compensate(conv, {"weight": mask.view_as(conv.weight)}, [x])
    fp.compensate(flat, {"weight": mask}, [rows])
    torch.testing.assert_close(conv.weight.flatten(1), flat.weight)
    torch.testing.assert_close(conv.bias, flat.bias)


@pytest.mark.parametrize("sequential", [True, False])
def test_the_order_and_the_size_of_batches_do_not_matter(sequential):
    x, found = correlated(60, 6), []
    for batches in ([x], [x[40:], x[:40]], [x[i : i + 7] for i in range(0, 60, 7)]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)).double()
        masks = {"0.weight": drawn((9, 6), 0.5), "2.weight": drawn((3, 9), 0.5)}
        fp.compensate(model, masks, batches, sequential=sequential)
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])


def test_sequential_takes_what_the_layers_before_give():
    """The second layer is least squares of the compensated first one's outputs, with targets of the dense model."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)).double(), correlated(90, 6)
    y, mask = model(x).detach(), {"0.weight": drawn((9, 6), 0.5), "2.weight": drawn((3, 9), 0.5)}
    fp.compensate(model, mask, [x], damping=1e-9)
    hidden = torch.cat([model[1](model[0](x)).detach(), torch.ones(90, 1).double()], 1)
    expected = least_squares(hidden, y, torch.cat([mask["2.weight"], torch.ones(3, 1) > 0], 1))
    torch.testing.assert_close(model[2].weight.detach(), expected[:, :9], rtol=1e-4, atol=1e-5)


def test_whole_layers_behind_the_first_cut_follow_and_those_before_do_not():
    torch.manual_seed(0)
    model, x = nn.Sequential(*(nn.Linear(6, 6) for _ in range(3))).double(), correlated(90, 6)
    before = state(model)
    record = fp.compensate(copy.deepcopy(model), {"1.weight": drawn((6, 6), 0.5)}, [x])
    assert list(record.layers) == ["1.weight", "2.weight"]
    assert set(record.step) == {"1.weight", "1.bias", "2.weight", "2.bias"}
    fp.compensate(model, {"1.weight": drawn((6, 6), 0.5)}, [x], sequential=False)
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in ("0.weight", "2.weight", "2.bias"))


def test_masks_hold_and_all_else_is_as_found():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(4 * 16, 3)
    ).train()
    x, masks = torch.randn(10, 1, 6, 6), {"0.weight": drawn((4, 1, 3, 3), 0.5), "5.weight": drawn((3, 64), 0.5)}
    model(x).sum().backward()
    model[1].eval()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    parameters, modes, random = list(model.parameters()), [m.training for m in model.modules()], torch.get_rng_state()
    record = fp.compensate(model, masks, iter([(x[:5], None), (x[5:], None)]))
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert all(torch.equal(gradients[n], p.grad) for n, p in model.named_parameters())
    assert all(torch.equal(buffers[n], b) for n, b in model.named_buffers())
    assert modes == [m.training for m in model.modules()]
    assert torch.equal(random, torch.get_rng_state())
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert "1.weight" not in record.step
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    assert all(bool((model.get_parameter(name)[~mask] == 0).all()) for name, mask in masks.items())


def test_the_step_is_the_whole_change():
    model, x = linear(6, 4), correlated(50, 6)
    before = state(model)
    record = fp.compensate(model, {"weight": drawn((4, 6), 0.5)}, [x])
    for name, param in model.named_parameters():
        torch.testing.assert_close(before[name] + record.step[name], param.detach())


def test_masks_that_hold_already_go_on():
    layer, x = linear(8, 4), correlated(50, 8)
    first, second = drawn((4, 8), 0.8, seed=1), drawn((4, 8), 0.7, seed=2)
    fp.apply(layer, {"weight": first})
    y = layer(x).detach()
    fp.compensate(layer, {"weight": second}, [x], damping=0)
    both = first & second
    assert torch.equal(fp.masks.masks_of(layer)["weight"], both)
    ones = torch.ones(50, 1).double()
    expected = least_squares(torch.cat([x, ones], 1), y, torch.cat([both, torch.ones(4, 1) > 0], 1))
    torch.testing.assert_close(layer.weight.detach(), expected[:, :8], rtol=1e-8, atol=1e-9)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.never = (nn.Linear(5, 5) for _ in range(3))
        self.three = nn.Linear(5, 5)
        self.four = nn.Linear(5, 5)
        self.four.weight = self.three.weight

    def forward(self, x):
        return self.four(self.three(self.two(torch.relu(self.one(torch.relu(self.one(x)))))))


def test_what_is_left_is_said():
    torch.manual_seed(0)
    model, x = Twice().double(), correlated(60, 5)
    model.two.weight.requires_grad_(False)
    masks = {f"{name}.weight": drawn((5, 5), 0.5, seed=i) for i, name in enumerate(("one", "two", "never", "three"))}
    left = {"two.weight": "it is frozen", "never.weight": "the batches do not reach it"}
    shared = {"three.weight": "several modules share it"}
    whole = copy.deepcopy(model)
    record = fp.compensate(model, masks, [x])
    twice = {"one.weight": "it is called 2 times in a pass: sequential=False takes all of them"}
    assert (record.left, dict(record.layers)) == ({**left, **shared, **twice}, {})
    assert all(bool((model.get_parameter(name)[~mask] == 0).all()) for name, mask in masks.items())
    fresh = fp.compensate(whole, masks, [x], sequential=False, damping=0)
    assert fresh.left == {**left, **shared}
    assert list(fresh.layers) == ["one.weight"]


def test_both_calls_of_a_layer_count():
    torch.manual_seed(0)
    model, x, mask = Twice().double(), correlated(60, 5), drawn((5, 5), 0.5)
    w, b = model.one.weight.detach().clone(), model.one.bias.detach().clone()
    rows = torch.cat([x, torch.relu(model.one(x)).detach()])
    y = rows @ w.mT + b
    fp.compensate(model, {"one.weight": mask}, [x], sequential=False, damping=0)
    expected = least_squares(
        torch.cat([rows, torch.ones(120, 1).double()], 1), y, torch.cat([mask, torch.ones(5, 1) > 0], 1)
    )
    torch.testing.assert_close(model.one.weight.detach(), expected[:, :5], rtol=1e-7, atol=1e-8)


def test_a_frozen_bias_stays():
    layer, x = linear(6, 3), correlated(50, 6)
    layer.bias.requires_grad_(False)
    mask, bias, y = drawn((3, 6), 0.5), layer.bias.clone(), x @ layer.weight.detach().mT
    fp.compensate(layer, {"weight": mask}, [x], damping=0)
    assert torch.equal(layer.bias, bias)
    torch.testing.assert_close(layer.weight.detach(), least_squares(x, y, mask), rtol=1e-8, atol=1e-9)


def test_dead_inputs_and_rows_without_weights():
    layer, x = linear(4, 3), torch.zeros(20, 4).double()
    before, mask = layer.weight.detach().clone(), drawn((3, 4), 0.5)
    mask[0] = False
    fp.compensate(layer, {"weight": mask}, [x])
    assert torch.equal(layer.weight.detach(), before * mask)
    layer, x = linear(4, 3), correlated(20, 4)
    y = layer(x).detach()
    fp.compensate(layer, {"weight": mask}, [x])
    torch.testing.assert_close(layer.bias[0].detach(), y[:, 0].mean())  # the best that a constant can do


def test_what_is_refused():
    layer, x, mask = linear(4, 3), correlated(20, 4), {"weight": drawn((3, 4), 0.5)}
    before = state(layer)
    same = x[:, :1].expand(20, 4)
    for given, said in (
        ({"masks": {"w": mask["weight"]}}, r"compensate\(masks=\): the model has no 'w'"),
        ({"masks": {"weight": torch.ones(2, 4) > 0}}, r"mask of 'weight' must be of shape \(3, 4\)"),
        ({"masks": [1]}, r"compensate\(masks=\) must be a mapping"),
        ({"batches": []}, r"compensate\(batches=\) must be an iterable with at least one batch; got 'none'"),
        ({"batches": x}, r"compensate\(batches=\) must be an iterable of batches"),
        ({"batches": [x * float("nan")]}, r"compensate\(batches=\) must be finite everywhere"),
        ({"damping": -1.0}, r"compensate\(damping=\) must be a number >= 0; got -1\.0"),
        ({"damping": True}, r"compensate\(damping=\) must be a number >= 0; got True"),
        ({"damping": 0, "batches": [same]}, r"larger for 'weight', whose inputs are linearly dependent"),
    ):
        for sequential in (True, False):
            with pytest.raises(ValueError, match=said):
                fp.compensate(layer, **{"masks": mask, "batches": [x], "sequential": sequential, **given})
    with pytest.raises(ValueError, match=r"compensate\(model=\) must be an nn.Module"):
        fp.compensate(nn.Linear, mask, [x])
    with pytest.raises(ValueError, match=r"one with a layer that can be compensated; got 'Embedding'"):
        fp.compensate(nn.Embedding(3, 4), mask, [x])
    assert all(torch.equal(before[n], v) for n, v in layer.state_dict().items())
    assert fp.masks.masks_of(layer) == {}
    fp.apply(layer, mask)
    with pytest.raises(ValueError, match=r"the model before its masks are applied; .* in place of fp\.apply"):
        fp.compensate(layer, mask, [x])
    other = fp.select(fp.score("magnitude", fp.gather(nn.Linear(4, 5), None, (), needs=()), fp.Weights()), 0.5)
    with pytest.raises(ValueError, match=r"compensate\(masks=\) must be made for this model"):
        fp.compensate(linear(4, 3), other, [x])
