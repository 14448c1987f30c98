"""Small models and batches for the tests of signals."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional


def convolutional(dtype=torch.float64) -> nn.Sequential:
    """Convolution, batch norm with used running statistics, ReLU in place, classifier."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 8, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.to(dtype)


def images(sizes=(4, 4, 3), dtype=torch.float64) -> list:
    """Batches of these sizes for :func:`convolutional`."""
    torch.manual_seed(1)
    return [(torch.randn(n, 3, 6, 6, dtype=torch.float64).to(dtype), torch.randint(5, (n,))) for n in sizes]


def perceptron(*widths: int, bias=False, activation=nn.ReLU, dtype=torch.float64) -> nn.Sequential:
    """A plain network, homogeneous with ReLU and without biases."""
    torch.manual_seed(2)
    layers = []
    for index, (a, b) in enumerate(pairwise(widths)):
        layers += [activation()] if index else []
        layers.append(nn.Linear(a, b, bias=bias))
    return nn.Sequential(*layers).to(dtype)


def points(sizes=(8, 5), features=4, classes=3, dtype=torch.float64) -> list:
    """Batches for a perceptron."""
    torch.manual_seed(3)
    return [(torch.randn(n, features, dtype=torch.float64).to(dtype), torch.randint(classes, (n,))) for n in sizes]


class Attention(nn.Module):
    """Self-attention through the fused kernel, with layer norm and an embedding."""

    def __init__(self, width=8, words=11):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, 3)

    def forward(self, ids):
        x = self.embed(ids)
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        x = x + functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head(x).mean(1)


def sentences(sizes=(4, 2)) -> list:
    """Batches of mappings for :class:`Attention`."""
    torch.manual_seed(4)
    return [{"ids": torch.randint(11, (n, 5)), "labels": torch.randint(3, (n,))} for n in sizes]


def whole(batches):
    """All examples as one batch."""
    return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


def flat(tensors) -> torch.Tensor:
    """A dictionary of tensors as one vector."""
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def snapshot(model: nn.Module) -> dict:
    """Everything about a model and the random state that a measurement must not change."""
    return {
        "state": {k: v.clone() for k, v in model.state_dict().items()},
        "objects": {k: id(v) for k, v in [*model.named_parameters(), *model.named_buffers()]},
        "grads": {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()},
        "trainable": {n: p.requires_grad for n, p in model.named_parameters()},
        "modes": {n: m.training for n, m in model.named_modules()},
        "hooks": {
            n: (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for n, m in model.named_modules()
        },
        "rng": torch.get_rng_state(),
        "fused": (torch.backends.cuda.flash_sdp_enabled(), torch.backends.mha.get_fastpath_enabled()),
        "recording": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }


def assert_same(before: dict, after: dict) -> None:
    """Raise where two snapshots differ in anything."""
    for kind in ("state", "grads"):
        assert before[kind].keys() == after[kind].keys()
        for name, value in before[kind].items():
            other = after[kind][name]
            assert (value is None and other is None) or torch.equal(value, other), (kind, name)
    assert torch.equal(before["rng"], after["rng"])
    for kind in ("objects", "trainable", "modes", "hooks", "fused", "recording"):
        assert before[kind] == after[kind], kind
