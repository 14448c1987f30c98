"""Multiply-adds of attention and recurrent layers against formulas worked out by hand, whichever kernel runs them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from flowprune.structure import Forecast, measure_cost, trace
from flowprune.structure.counting import counting

X = torch.randn(2, 5, 16)
PROJECTIONS, PRODUCTS = 5 * 16 * 48 + 5 * 16 * 16, 2 * 4 * 5 * 5 * 4


class SelfAttention(nn.Module):
    def __init__(self, make=nn.MultiheadAttention):
        super().__init__()
        self.inner = make(16, 4, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x):
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 4, -1).permute(2, 0, 3, 1, 4)
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.layers, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.layers(x).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind, **arguments):
        super().__init__()
        self.inner = kind(16, 8, batch_first=True, **arguments)

    def forward(self, x):
        return self.inner(x)[0]


CASES = {
    "nn.MultiheadAttention": (SelfAttention, PROJECTIONS + PRODUCTS),
    "scaled_dot_product_attention": (Fused, PROJECTIONS + PRODUCTS),
    "nn.TransformerEncoder": (Encoder, 2 * (PROJECTIONS + PRODUCTS + 2 * 5 * 16 * 32) + 3 * 16),
    "nn.LSTM": (lambda: Recurrent(nn.LSTM), 5 * 4 * 8 * (16 + 8)),
    "nn.GRU": (lambda: Recurrent(nn.GRU), 5 * 3 * 8 * (16 + 8)),
    "both directions, two layers": (
        lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True),
        5 * 2 * 4 * 8 * (16 + 8) + 5 * 2 * 4 * 8 * (16 + 8),
    ),
}


@pytest.mark.parametrize(("make", "expected"), CASES.values(), ids=CASES)
def test_by_hand(make, expected):
    model = make()
    for _ in range(2):
        assert measure_cost(model, X).multiply_adds == expected
        assert Forecast(model, {}, X).multiply_adds({}) == expected
        model.eval()


def test_every_kernel_counts_alike():
    found = []
    for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
        with sdpa_kernel(backend), torch.no_grad(), counting() as counter:
            Fused().eval()(X)
        found.append(counter.get_total_flops())
    assert found == [4 * (PROJECTIONS + PRODUCTS)] * 2


def test_a_forecast_of_fewer_heads():
    class Heads(Fused):
        def forward(self, x):
            q, k, v = self.qkv(x).view(*x.shape[:2], 3, -1, 4).permute(2, 0, 3, 1, 4)
            return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    model = Heads()
    layout = trace(model, X).groups
    masks = {"qkv.weight": torch.tensor([True, False, True, False])}
    assert Forecast(model, layout, X).counted(masks) == (PROJECTIONS + PRODUCTS) // 2


def test_the_outputs_of_a_recurrent_layer_are_activations():
    out, state = 5 * 8 * 4, 2 * 8 * 4
    assert measure_cost(Recurrent(nn.LSTM), X).activation_bytes == out + state
