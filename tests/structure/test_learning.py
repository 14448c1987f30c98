"""What trials teach: attributes that count several channels, constants of their length, splits that must agree."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import flowprune as fp
from flowprune.structure import remove, trace
from tests.structure.comparing import assert_same, drawn, zeroed

VECTORS, TOKENS = torch.randn(2, 5, dtype=torch.float64), torch.randn(2, 3, 8, dtype=torch.float64)


class OneWidth(nn.Module):
    """One number in the code is the width of two layers."""

    def __init__(self):
        super().__init__()
        self.width = 8
        self.a, self.b, self.out = nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(16, 2)

    def forward(self, x):
        y, z = self.a(x).relu().view(len(x), self.width), self.b(x).relu().view(len(x), self.width)
        return self.out(torch.cat([y, z], 1))


class OneWidthOnTwoLines(OneWidth):
    def forward(self, x):
        y = self.a(x).relu().view(len(x), self.width)
        z = self.b(x).relu().view(len(x), self.width)
        return self.out(torch.cat([y, z], 1))


class OneHead(nn.Module):
    """Queries, keys and values are as wide as one attribute says."""

    def __init__(self):
        super().__init__()
        self.width = 8
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (f(x).view(n, t, 1, self.width).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.out(functional.scaled_dot_product_attention(q, k, v, scale=0.3).transpose(1, 2).reshape(n, t, -1))


class Spelled(nn.Module):
    """The heads of the queries are computed, those of keys and values are an attribute."""

    def __init__(self):
        super().__init__()
        self.heads, self.width = 4, 3
        self.q, self.k, self.v = (nn.Linear(8, 12) for _ in range(3))
        self.out = nn.Linear(12, 2)

    def forward(self, x):
        n, t, _ = x.shape
        q = self.q(x).view(n, t, -1, self.width).transpose(1, 2)
        k, v = (f(x).view(n, t, self.heads, self.width).transpose(1, 2) for f in (self.k, self.v))
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, -1))


class Biased(nn.Module):
    """A constant bias for each head is made in the code."""

    def __init__(self):
        super().__init__()
        self.heads, self.qkv, self.out = 4, nn.Linear(8, 48), nn.Linear(16, 2)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, 4).permute(2, 0, 3, 1, 4)
        bias = torch.zeros(1, self.heads, t, t, dtype=x.dtype)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(y.transpose(1, 2).reshape(n, t, -1))


@pytest.mark.parametrize(
    ("kind", "x", "expected"),
    [
        (OneWidth, VECTORS, {"a.weight": ("channels", 8)}),
        (OneWidthOnTwoLines, VECTORS, {"a.weight": ("channels", 8)}),
        (OneHead, TOKENS, {"q.weight": ("channels", 8)}),
        (Spelled, TOKENS, {"q.weight": ("heads", 4)}),
        (Biased, TOKENS, {"qkv.weight": ("heads", 4)}),
    ],
)
def test_what_one_number_counts_is_cut_together(kind, x, expected):
    model = kind().double().eval()
    found = trace(model, x)
    assert {name: (group.kind, group.size) for name, group in found.groups.items()} == expected
    assert found.refusals == ()
    for seed in range(3):
        masks = drawn(found.groups, seed)
        assert_same(zeroed(model, found.groups, masks), remove(model, masks, example_inputs=x), x)


class Made(nn.Module):
    """A tensor that is no constant, or that is part of the output, is as long as an attribute says."""

    def __init__(self, make):
        super().__init__()
        self.width, self.make = 8, make
        self.a, self.b, self.c = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x):
        y = self.a(x).view(len(x), self.width)
        return self.c(self.b(y).relu()), self.make(self.width)


@pytest.mark.parametrize(
    "make",
    [
        lambda width: torch.ones(width).sum(),
        lambda width: torch.arange(width).sum(),
        lambda width: torch.zeros(2, width),
        torch.rand,
    ],
    ids=["ones", "arange", "zeros", "rand"],
)
def test_a_trace_comes_to_an_end(make):
    """Such a tensor once made the same trial again and again."""
    found = trace(Made(make).double(), VECTORS, time_limit=60)
    assert set(found.groups) == {"b.weight"}
    assert any("a.weight" in refusal.weights for refusal in found.refusals) or not found.refusals


class Otherwise(nn.Module):
    """Does something else in training mode."""

    def __init__(self, change):
        super().__init__()
        self.a, self.b, self.c, self.change = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 2), change

    def forward(self, x):
        h = self.a(x).relu()
        if self.training:
            h = self.change(h)
        return self.c(self.b(h).relu())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: h / (h.mean(1, keepdim=True) + 1), "average over channels"),
        (lambda h: h + 0.1 * torch.randn_like(h), "fills in numbers"),
    ],
    ids=["mean", "noise"],
)
def test_what_training_mode_alone_does_is_seen(change, said):
    model = Otherwise(change).double()
    found = trace(model, VECTORS)
    assert set(found.groups) == {"b.weight"}
    assert any(said in refusal.reason for refusal in found.refusals)
    result = fp.prune(model, measure="magnitude", sparsity=0.5, granularity=fp.Channels(example_inputs=VECTORS))
    assert result.model.b.out_features == 3


class Unrolled(nn.Module):
    def __init__(self):
        super().__init__()
        self.i, self.h, self.o = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        state = torch.zeros(len(x), 8, dtype=x.dtype)
        for t in range(2):
            state = torch.tanh(self.i(x[:, t]) + self.h(state))
        return self.o(state)


class TiedBehindANorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.scale, self.up = nn.Embedding(11, 16), nn.Parameter(torch.ones(16)), nn.Linear(16, 20)
        self.down, self.logits = nn.Linear(20, 16), nn.Linear(16, 11, bias=False)
        self.logits.weight = self.words.weight

    def norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale

    def forward(self, words):
        x = self.words(words)
        return self.logits(self.norm(x + self.down(self.up(self.norm(x)).relu())))


def test_no_weight_is_left_whole_in_silence():
    whole = trace(Unrolled().double(), torch.randn(2, 3, 5, dtype=torch.float64)).refusals
    assert {name for refusal in whole for name in refusal.weights} == {"i.weight", "h.weight"}
    assert all("meet a tensor whose size is what it is" in refusal.reason for refusal in whole)
    found = trace(TiedBehindANorm().double(), torch.randint(0, 11, (2, 5)))
    assert list(found.groups) == ["up.weight"]
    assert {name for refusal in found.refusals for name in refusal.weights} == {"words.weight", "down.weight"}


def test_a_model_that_needs_its_hooks_is_told():
    class Hooked(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 8), nn.Linear(16, 2)
            self.a.register_forward_hook(lambda module, args, output: setattr(module, "seen", output))

        def forward(self, x):
            return self.b(torch.cat([self.a(x), self.a.seen], 1))

    with pytest.raises(fp.PruningError, match=r"has forward hooks, which a trace leaves out"):
        trace(Hooked().double(), VECTORS)
