"""Which kept weights lie on a path from an input to an output."""

from __future__ import annotations

import copy
import random
from itertools import pairwise, product

import pytest
import torch
from torch import nn

from flowprune import models
from flowprune.core.errors import PruningError
from flowprune.signals.paths import effective_weights
from tests.reference.paths import convolution_edges, linear_edges, literal_paths, pooling_edges
from tests.signals.masked import assert_equal, count, drawn
from tests.signals.networks import assert_same, perceptron, snapshot

# closed forms and the literal reference


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.Softplus, nn.SiLU, nn.PReLU])
@pytest.mark.parametrize("bias", [False, True])
def test_a_perceptron_is_as_the_literal_reference_says(activation, bias):
    widths = (4, 6, 5, 6, 3)
    model = perceptron(*widths, activation=activation, bias=bias, dtype=torch.float32)
    names = [name for name, p in model.named_parameters() if p.dim() > 1]
    edges = [edge for at, (i, o) in enumerate(pairwise(widths)) for edge in linear_edges(names[at], at, o, i)]
    ends = {(0, i) for i in range(4)}, {(4, o) for o in range(3)}
    for seed, density in product(range(5), (0.15, 0.3, 0.6)):
        masks = drawn(model, density, seed)
        assert_equal(effective_weights(model, masks, torch.randn(3, 4)), literal_paths(edges, masks, *ends))


def test_a_chain_of_convolutions_is_as_the_literal_reference_says():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, stride=2, padding=1),
        nn.GroupNorm(1, 5),
        nn.ReLU6(),
        nn.Conv2d(5, 3, 2),
        nn.Flatten(),
    )
    edges = [
        *convolution_edges("0.weight", 0, (4, 2, 3, 3), 6, padding=1),
        *pooling_edges(1, 4, 6, 2),
        *convolution_edges("4.weight", 2, (5, 4, 3, 3), 3, stride=2, padding=1),
        *convolution_edges("7.weight", 3, (3, 5, 2, 2), 2),
    ]
    inputs = {(0, c, y, x) for c, y, x in product(range(2), range(6), range(6))}
    for seed, density in product(range(4), (0.1, 0.25)):
        masks = drawn(model, density, seed)
        expected = literal_paths(edges, masks, inputs, {(4, o, 0, 0) for o in range(3)})
        assert_equal(effective_weights(model, masks, torch.randn(2, 2, 6, 6)), expected)


def test_weights_that_only_see_padding_are_on_no_path():
    model = nn.Conv2d(1, 1, 3, padding=1)
    found = effective_weights(model, {}, torch.ones(1, 1, 1, 1))["weight"][0, 0]
    assert found.sum() == 1
    assert found[1, 1]


def test_an_emptied_layer_leaves_nothing():
    model = perceptron(3, 4, 4, 2, dtype=torch.float32)
    masks = {"2.weight": torch.zeros(4, 4, dtype=torch.bool)}
    assert set(count(effective_weights(model, masks, torch.ones(1, 3))).values()) == {0}


def test_a_shortcut_keeps_the_rest_alive_where_a_branch_is_empty():
    model = models.resnet([(4, 1), (8, 1)], num_classes=3)
    masks = {
        n: torch.zeros_like(p, dtype=torch.bool) for n, p in model.named_parameters() if n.endswith("conv1.weight")
    }
    found = effective_weights(model, masks, torch.ones(1, 3, 8, 8))
    assert {name for name, n in count(found).items() if n == 0} == {
        f"stages.{i}.0.conv{j}.weight" for i in (0, 1) for j in (1, 2)
    }
    assert found["stages.1.0.shortcut.0.weight"].all()


def test_depth_neither_overflows_nor_underflows():
    model = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(400)))
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    for mask in list(masks.values())[200:]:
        mask.copy_(torch.eye(64, dtype=torch.bool))
    masks["10.weight"][5] = masks["11.weight"][:, 5] = False  # one unit is dead on both sides
    found = effective_weights(model, masks, torch.ones(1, 64))
    assert_equal(found, masks)


def test_biases_are_left_out_and_begin_no_path():
    model = perceptron(3, 4, 2, bias=True, dtype=torch.float32)
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    masks["0.weight"][1] = False
    found = effective_weights(model, masks, torch.ones(1, 3))
    assert list(found) == ["0.weight", "2.weight"]
    assert found["2.weight"].tolist() == [[True, False, True, True]] * 2
    added = nn.Sequential(model, nn.Module())
    added[1].shift, added[1].out = nn.Parameter(torch.ones(2)), nn.Linear(2, 1)
    added[1].forward = lambda x: added[1].out(x + added[1].shift)
    found = effective_weights(
        added, {"0.2.weight": torch.eye(2, 4, dtype=torch.bool)[:, [1, 0, 2, 3]]}, torch.ones(1, 3)
    )
    assert found["1.out.weight"].all()
    none = {"0.0.weight": torch.zeros(4, 3, dtype=torch.bool)}
    assert not effective_weights(added, none, torch.ones(1, 3))["1.out.weight"].any()


def test_a_linear_layer_written_as_a_product_reads_no_constant():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Parameter(torch.ones(4, 2))

        def forward(self, x):
            hidden = torch.sigmoid(self.first(x))
            return hidden @ self.last, torch.einsum("oh,nh->no", self.last.T, hidden)

    keep = torch.tensor([True, False, True, False])
    found = effective_weights(Net(), {"first.weight": keep[:, None].expand(4, 3)}, torch.ones(1, 3))
    assert torch.equal(found["last"], keep[:, None].expand(4, 2))


# laws


NETWORKS = {
    "vgg": (lambda: models.vgg16(width=1 / 16), (3, 32, 32)),
    "vgg, norm first": (lambda: models.vgg13(width=1 / 16, order="conv_bn_relu"), (3, 32, 32)),
    "plain": (lambda: models.vgg11_plain(width=1 / 16), (3, 32, 32)),
    "resnet": (lambda: models.resnet20(width=0.25), (3, 16, 16)),
    "stable": (lambda: models.resnet20(width=0.25, stable=True), (3, 16, 16)),
    "preactivation": (lambda: models.preact_resnet18(width=1 / 16), (3, 16, 16)),
    "mobilenet": (lambda: models.mobilenet_v1(width=0.125), (3, 32, 32)),
    "digits": (models.digits_convnet, (1, 8, 8)),
}


def without_biases(model, seed=0):
    """In double precision, biases zero, running statistics used."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith("bias"):
            nn.init.zeros_(value)
        elif name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return model.double().eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_dense_network_is_effective_and_paths_are_fewer_than_weights(name):
    build, shape = NETWORKS[name]
    model = build()
    found = effective_weights(model, {}, torch.ones(2, *shape))
    assert all(tensor.all() for tensor in found.values())
    masks = drawn(model, 0.2)
    found = effective_weights(model, masks, torch.ones(2, *shape))
    assert all(not (found[n] & ~masks[n]).any() for n in masks)
    fewer = {n: mask & (torch.arange(mask.numel()).view_as(mask) % 3 > 0) for n, mask in masks.items()}
    less = effective_weights(model, fewer, torch.ones(2, *shape))
    assert all(not (less[n] & ~found[n]).any() for n in masks)  # nested masks have nested paths


@pytest.mark.parametrize("name", NETWORKS)
def test_a_weight_on_no_path_changes_nothing(name):
    build, shape = NETWORKS[name]
    model = without_biases(build())
    params, masks = dict(model.named_parameters()), drawn(model, 0.15)
    found = effective_weights(model, masks, torch.ones(1, *shape))
    idle = {n: mask & ~found[n] for n, mask in masks.items()}
    assert sum(count(idle).values()) > 0
    x = torch.randn(3, *shape, dtype=torch.float64)
    with torch.no_grad():
        for n, mask in masks.items():
            params[n].mul_(mask)
        before = model(x)
        for n, mask in idle.items():
            params[n].masked_scatter_(mask, torch.randn(int(mask.sum()), dtype=torch.float64))
        torch.testing.assert_close(model(x), before, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_weight_on_a_path_has_a_derivative(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.Tanh(), nn.Conv2d(5, 5, 3, groups=5, bias=False), nn.Tanh(),
        nn.Conv2d(5, 6, 1, bias=False), nn.AvgPool2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3, bias=False),
    ).double()  # fmt: skip
    masks = drawn(model, 0.3, seed)
    found = effective_weights(model, masks, torch.ones(1, 2, 6, 6))
    with torch.no_grad():
        for n, p in model.named_parameters():
            p.mul_(masks[n])
    output = model(torch.randn(4, 2, 6, 6, dtype=torch.float64))
    (output * torch.randn_like(output)).sum().backward()
    for n, p in model.named_parameters():
        assert torch.equal((p.grad != 0) & masks[n], found[n]), n


# left as found, and errors


def test_the_model_is_left_as_found():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Dropout(), nn.Flatten())
    model.train()
    model[0].eval()
    model[0].weight.requires_grad_(False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    model[2].register_forward_hook(lambda *_: None)
    x, numbers = torch.randn(4, 1, 5, 5), random.getstate()
    before, kept = snapshot(model), x.clone()
    found = effective_weights(model, drawn(model, 0.5), x)
    assert_same(before, snapshot(model))
    assert random.getstate() == numbers
    assert torch.equal(x, kept)
    assert not found["0.weight"].requires_grad
    with pytest.raises(PruningError, match=r"effective_weights\(example_inputs=\) must be what the model is called"):
        effective_weights(model, {}, torch.ones(1, 7))
    assert_same(before, snapshot(model))


def test_no_autograd_and_tied_weights_make_no_difference():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    with torch.no_grad():
        found = effective_weights(model, {"0.weight": torch.eye(5, 3, dtype=torch.bool)}, torch.tensor([[1]]))
    assert list(found) == ["0.weight"]
    assert torch.equal(found["0.weight"], torch.eye(5, 3, dtype=torch.bool))
    with torch.inference_mode():
        assert effective_weights(copy.deepcopy(model), {}, torch.tensor([[1]]))["0.weight"].all()


@pytest.mark.parametrize(
    ("masks", "inputs", "said"),
    [
        ({"weigth": torch.ones(2, 3, dtype=torch.bool)}, torch.ones(1, 3), "Did you mean 'weight'"),
        ({"weight": torch.ones(2, 3)}, torch.ones(1, 3), "a boolean tensor, True = kept; got torch.float32"),
        ({"weight": torch.ones(2, dtype=torch.bool)}, torch.ones(1, 3), r"of shape \(2, 3\); got \(2,\)"),
        ({"weight": [True]}, torch.ones(1, 3), "must be a boolean tensor"),
        ([], torch.ones(1, 3), "a mapping of names to boolean tensors"),
        ({}, 3, r"effective_weights\(example_inputs=\) must be tensors"),
        ({}, torch.ones(0, 3), r"effective_weights\(example_inputs=\) must be tensors"),
    ],
)
def test_bad_arguments_are_refused(masks, inputs, said):
    with pytest.raises(ValueError, match=said):
        effective_weights(nn.Linear(3, 2), masks, inputs)


def test_a_model_that_keeps_no_graph_is_refused():
    class Silent(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                return super().forward(x)

    with pytest.raises(PruningError, match="output that depends on its parameters"):
        effective_weights(Silent(3, 2), {}, torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"an nn\.Module"):
        effective_weights(nn.Linear, {}, torch.ones(1, 3))
