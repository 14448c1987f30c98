"""What each operation passes, and so which weights are on a path."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowprune.core.errors import PruningError
from flowprune.signals.paths import effective_weights
from tests.signals.masked import assert_equal, count, drawn
from tests.signals.networks import Attention, assert_same, snapshot


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
