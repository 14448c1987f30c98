"""Which kept weights lie on a path from an input to an output."""

from __future__ import annotations

import copy
import random
from itertools import pairwise, product

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowprune import models
from flowprune.core.errors import PruningError
from flowprune.signals.paths import effective_weights
from tests.reference.paths import convolution_edges, linear_edges, literal_paths, pooling_edges
from tests.signals.networks import Attention, assert_same, perceptron, snapshot


def drawn(model, density, seed=0):
    """Random masks of all weights."""
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(p.shape, generator=generator) < density for n, p in model.named_parameters() if p.dim() > 1}


def count(tensors):
    return {name: int(tensor.sum()) for name, tensor in tensors.items()}


def assert_equal(found, expected):
    for name, mask in expected.items():
        assert torch.equal(found[name], mask), name


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


# operations


class Block(nn.Module):
    """Attention written out, in a residual stream, from words."""

    def __init__(self, width=6):
        super().__init__()
        self.words, self.positions = nn.Embedding(9, width), nn.Parameter(torch.randn(1, 5, width))
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.register_buffer("mask", torch.full((5, 5), float("-inf")).triu(1))
        self.out = nn.Linear(width, 3)

    def forward(self, ids):
        x = self.norm(self.words(ids) + self.positions)
        scores = self.q(x) @ self.k(x).transpose(-2, -1) / 6**0.5 + self.mask
        return self.out(functional.dropout(scores.softmax(-1), 0.1, self.training) @ self.v(x))


class Fused(Block):
    """The same with the fused kernel."""

    def forward(self, ids):
        x = self.norm(self.words(ids) + self.positions)
        return self.out(functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), is_causal=True))


@pytest.mark.parametrize("kind", [Block, Fused])
def test_values_have_paths_of_their_own_and_queries_where_keys_are(kind):
    model, ids = kind(), torch.zeros(2, 5, dtype=torch.long)
    assert all(tensor.all() for tensor in effective_weights(model, {}, ids).values())
    none = torch.zeros(6, 6, dtype=torch.bool)
    alive = {n for n, k in count(effective_weights(model, {"k.weight": none}, ids)).items() if k}
    assert alive == {"words.weight", "positions", "v.weight", "out.weight"}
    alive = {n for n, k in count(effective_weights(model, {"v.weight": none}, ids)).items() if k}
    assert alive == set()
    one = torch.zeros(6, 6, dtype=torch.bool)
    one[2, 4] = True  # a query of one number: of the keys, only the row that meets it is read
    found = effective_weights(model, {"q.weight": one}, ids)
    assert torch.equal(found["k.weight"], torch.arange(6)[:, None].expand(6, 6) == 2)


def test_every_word_may_be_looked_up():
    model = Attention()
    masks = drawn(model, 0.5)
    first, second = (effective_weights(model, masks, torch.full((1, 5), word)) for word in (0, 7))
    assert_equal(first, second)
    assert first["embed.weight"].any(1).all()


class Gated(nn.Module):
    def __init__(self, gate, bias=True):
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(3, 4, bias), nn.Linear(3, 4, bias), nn.Linear(4, 2)
        self.function = gate

    def forward(self, x):
        return self.down(self.function(self.gate(x)) * self.up(x))


@pytest.mark.parametrize(
    ("gate", "alive"), [(torch.sigmoid, True), (functional.hardsigmoid, True), (functional.silu, False),
                        (lambda x: 1 + x, True), (lambda x: x.softmax(-1), True), (torch.tanh, False)]
)  # fmt: skip
def test_a_dead_gate_closes_what_it_multiplies_only_where_it_is_zero_at_zero(gate, alive):
    model = Gated(gate)
    found = effective_weights(model, {"gate.weight": torch.zeros(4, 3, dtype=torch.bool)}, torch.ones(1, 3))
    assert bool(found["up.weight"].all()) is alive
    assert bool(found["down.weight"].all()) is alive
    assert not found["gate.weight"].any()
    assert effective_weights(model, {}, torch.ones(1, 3))["gate.weight"].all()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - x.mean(-1, keepdim=True),
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
        lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5),
        lambda x: functional.normalize(x, dim=-1),
        lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.04 * x**3))),
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: x.clone().mul_(-2.0).add_(1.0).sub_(0.5),
        lambda x: x.float().neg().double(),
        lambda x: torch.maximum(x, -x),
        lambda x: x.masked_fill(torch.zeros(4, dtype=torch.bool), float("-inf")),
        lambda x: x.detach(),
        lambda x: torch.zeros_like(x).add_(x) + torch.ones(4),
        lambda x: functional.local_response_norm(x[..., None], 2)[..., 0],
    ],
)
def test_a_function_by_channel_passes_each_channel(function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(function(self.first(x)))

    masks = {"first.weight": torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], dtype=torch.bool)}
    masks["last.weight"] = torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]], dtype=torch.bool)
    found = effective_weights(Net(), masks, torch.ones(1, 3))
    assert found["first.weight"].tolist() == [[True, False, True], [False] * 3, [False] * 3, [False, True, False]]
    assert found["last.weight"].tolist() == [[False, False, False, True], [True, False, False, False]]


def test_inputs_may_be_several_and_parts_may_be_joined():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Conv1d(1, 2, 1), nn.Linear(2, 2), nn.Linear(4, 1)

        def forward(self, a, *, b):
            return self.out(torch.cat([functional.max_pool1d(self.a(a), 3)[..., 0], self.b(b)], 1))

    class Example:
        args, kwargs = (torch.ones(2, 1, 3),), {"b": torch.ones(2, 2)}

    found = effective_weights(Two(), {"b.weight": torch.tensor([[True, False], [False, False]])}, Example())
    assert found["out.weight"].tolist() == [[True, True, True, False]]
    assert found["a.weight"].all()
    mapping = {"a": torch.ones(2, 1, 3), "b": torch.ones(2, 2)}
    assert_equal(effective_weights(Two(), {}, mapping), effective_weights(Two(), {}, Example()))


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True, proj_size=2), torch.ones(2, 3, 3)),
        (lambda: nn.GRU(3, 4, num_layers=2), torch.ones(3, 2, 3)),
        (lambda: nn.RNN(3, 4, bias=False), torch.ones(3, 2, 3)),
        (lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), torch.ones(2, 3, 4)),
        (lambda: nn.Transformer(4, 2, 1, 1, 8, batch_first=True), (torch.ones(2, 3, 4), torch.ones(2, 2, 4))),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), torch.ones(2, 3)),
        (lambda: nn.Sequential(nn.EmbeddingBag(5, 3), nn.Linear(3, 2)), torch.zeros(2, 2, dtype=torch.long)),
        (lambda: nn.Sequential(nn.MaxPool2d(2, 1, dilation=2), nn.ConvTranspose2d(2, 3, 2), nn.AdaptiveMaxPool2d(1)),
         torch.ones(2, 2, 4, 4)),
    ],
)  # fmt: skip
def test_other_layers_are_wholly_effective_where_they_are_dense(model, inputs):
    assert all(tensor.all() for tensor in effective_weights(model(), {}, inputs).values())


def test_a_unit_that_only_itself_reads_is_on_no_path():
    model = nn.Sequential(nn.LSTM(2, 3, batch_first=True), nn.Identity())
    keep = torch.ones(12, 3, dtype=torch.bool)
    keep[:, 1] = False  # no step reads the second unit; only the output does
    keep.view(4, 3, 3)[:, 0] = False  # and the first reads no past
    found = effective_weights(model, {"0.weight_hh_l0": keep}, torch.ones(1, 4, 2))["0.weight_hh_l0"]
    assert torch.equal(found, keep)


@pytest.mark.parametrize("name", ["GPT2", "Llama"])
def test_language_models_of_hugging_face(name):
    transformers = pytest.importorskip("transformers")
    if name == "GPT2":
        config = transformers.GPT2Config(
            vocab_size=16, n_positions=8, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
        )
        model, last = transformers.GPT2LMHeadModel(config), "transformer.h.1.mlp.c_proj.weight"
    else:
        config = transformers.LlamaConfig(
            vocab_size=16, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=8,
        )  # fmt: skip
        model, last = transformers.LlamaForCausalLM(config), "model.layers.1.mlp.down_proj.weight"
    inputs = {"input_ids": torch.zeros(2, 5, dtype=torch.long), "attention_mask": torch.ones(2, 5, dtype=torch.long)}
    before = snapshot(model)
    found = effective_weights(model, {}, inputs)
    assert_same(before, snapshot(model))
    assert all(tensor.all() for tensor in found.values())
    found = effective_weights(model, {last: torch.zeros_like(found[last])}, inputs)
    read = {"GPT2": ["c_fc"], "Llama": ["gate_proj", "up_proj"]}[name]
    dead = {n for n, k in count(found).items() if not k}
    assert dead == {last, *(last.replace("c_proj", r).replace("down_proj", r) for r in read)}


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
    ("function", "said"),
    [
        (torch.diff, "never take away from a sum; 'diff' does"),
        (torch.fft.fft, "real numbers; 'fft_fft' gives complex"),
        (lambda x: functional.conv1d(x[:, None], torch.tensor([[[1.0, -1.0]]])).flatten(1), None),
    ],
)
def test_an_operation_that_takes_away_is_refused_where_it_has_no_rule(function, said):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 3)

        def forward(self, x):
            return function(self.first(x))

    if said is None:
        assert effective_weights(Net(), {}, torch.ones(1, 2))["first.weight"].all()
    else:
        with pytest.raises(PruningError, match=said):
            effective_weights(Net(), {}, torch.ones(1, 2))


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
