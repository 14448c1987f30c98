"""Small networks of the kinds that people prune, written as people write them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

IMAGES, WORDS = "images", "words"


def conv(before, width, size=3, stride=1):
    return nn.Sequential(
        nn.Conv2d(before, width, size, stride, size // 2, bias=False), nn.BatchNorm2d(width), nn.SiLU()
    )


class DenseNet(nn.Module):
    """Every layer reads all layers before it."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 8)
        self.layers = nn.ModuleList(conv(8 + 4 * i, 4) for i in range(3))
        self.transition = conv(20, 10, 1)
        self.head = nn.Linear(10, 4)

    def forward(self, x):
        found = [self.stem(x)]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return self.head(functional.avg_pool2d(self.transition(torch.cat(found, 1)), 2).mean((2, 3)))


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv(3, 6)
        self.one, self.three = conv(6, 5, 1), nn.Sequential(conv(6, 4, 1), conv(4, 6))
        self.five = nn.Sequential(conv(6, 3, 1), conv(3, 4), conv(4, 4))
        self.pooled = conv(6, 4, 1)
        self.head = nn.Linear(19, 4)

    def forward(self, x):
        x = self.stem(x)
        pooled = self.pooled(functional.max_pool2d(x, 3, 1, 1))
        return self.head(torch.cat([self.one(x), self.three(x), self.five(x), pooled], 1).mean((2, 3)))


class Bottleneck(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a, self.b = conv(width, width), conv(width, width)

    def forward(self, x):
        return x + self.b(self.a(x))


class C2f(nn.Module):
    """The block of the YOLO detectors: one half goes through bottlenecks, every step is kept."""

    def __init__(self, before, after, depth=2, *, split=False):
        super().__init__()
        self.c, self.split = after // 2, split
        self.first, self.last = conv(before, 2 * self.c, 1), conv((2 + depth) * self.c, after, 1)
        self.blocks = nn.ModuleList(Bottleneck(self.c) for _ in range(depth))

    def forward(self, x):
        y = self.first(x)
        parts = list(y.split((self.c, self.c), 1) if self.split else y.chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Detector(nn.Module):
    """Two scales, joined from above, and two heads."""

    def __init__(self):
        super().__init__()
        self.stem, self.down = conv(3, 6, 3, 2), conv(8, 12, 3, 2)
        self.fine, self.coarse, self.joined = C2f(6, 8), C2f(12, 12, 1, split=True), C2f(20, 10, 1)
        self.boxes, self.classes = nn.Conv2d(10, 4, 1), nn.Conv2d(10, 3, 1)

    def forward(self, x):
        fine = self.fine(self.stem(x))
        up = functional.interpolate(self.coarse(self.down(fine)), scale_factor=2.0, mode="nearest")
        x = self.joined(torch.cat([up, fine], 1))
        return torch.cat([self.boxes(x), self.classes(x)], 1)


class UNet(nn.Module):
    """Skips from the way down to the way up."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([conv(3, 4), conv(4, 6), conv(6, 8)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(8, 6, 2, 2), nn.ConvTranspose2d(6, 4, 2, 2)])
        self.join = nn.ModuleList([conv(12, 6), conv(8, 4)])
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        skips = []
        for layer in self.down[:-1]:
            skips.append(layer(x))
            x = functional.max_pool2d(skips[-1], 2)
        x = self.down[-1](x)
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([up(x), skips.pop()], 1))
        return self.head(x)


class CrossStage(nn.Module):
    """Channels taken by their place, up to an attribute and from it on."""

    def __init__(self):
        super().__init__()
        self.cut = 4
        self.stem, self.inner, self.head = conv(3, 10), conv(6, 6), nn.Linear(10, 4)

    def forward(self, x):
        x = self.stem(x)
        return self.head(torch.cat([x[:, : self.cut], self.inner(x[:, self.cut :])], 1).mean((2, 3)))


class GroupNormed(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 3, padding=1), nn.GroupNorm(4, 12)
        self.a, self.b = nn.Conv2d(12, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.inner, self.head = nn.GroupNorm(4, 8, affine=False), nn.Linear(12, 4)

    def forward(self, x):
        x = functional.relu(self.norm(self.stem(x)))
        x = x + self.b(functional.relu(self.inner(self.a(x))))
        return self.head(x.mean((2, 3)))


class Unshuffled(nn.Module):
    """Space to channels."""

    def __init__(self):
        super().__init__()
        self.stem, self.mix, self.head = conv(3, 5), conv(20, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.mix(functional.pixel_unshuffle(self.stem(x), 2)).mean((2, 3)))


class Attention(nn.Module):
    """Queries, keys and values from one layer, taken apart as in the vision transformers."""

    def __init__(self, width=12, heads=4, head=3):
        super().__init__()
        self.num_heads, self.head_dim, self.scale = heads, head, head**-0.5
        self.qkv, self.out = nn.Linear(width, 3 * heads * head), nn.Linear(heads * head, width)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q * self.scale @ k.transpose(-2, -1)).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, -1))


class VisionTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 12)), nn.Parameter(torch.randn(1, 5, 12))
        self.norm1, self.norm2, self.attention = nn.LayerNorm(12), nn.LayerNorm(12), Attention()
        self.mlp = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Dropout(0.1), nn.Linear(20, 12))
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        x = x + self.attention(self.norm1(x))
        return self.head((x + self.mlp(self.norm2(x)))[:, 0])


class GroupedQueries(nn.Module):
    """Six heads of queries read two of keys and values; rotary embeddings; a gated layer; tied words."""

    def __init__(self, words=16, width=12, heads=6, shared=2, head=4):
        super().__init__()
        self.heads, self.shared, self.head = heads, shared, head
        self.words = nn.Embedding(words, width)
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, (heads + 2 * shared) * head, bias=False)
        self.out = nn.Linear(heads * head, width, bias=False)
        self.gate, self.up, self.down = (
            nn.Linear(*size, bias=False) for size in ((width, 18), (width, 18), (18, width))
        )
        self.register_buffer("angles", torch.arange(32)[:, None] * torch.tensor([1.0, 0.1]), persistent=False)
        self.logits = nn.Linear(width, words, bias=False)
        self.logits.weight = self.words.weight

    def turned(self, x):
        angles = self.angles[: x.shape[-2]].to(x.dtype).repeat(1, 2)
        half = x.shape[-1] // 2
        return x * angles.cos() + torch.cat([-x[..., half:], x[..., :half]], -1) * angles.sin()

    def forward(self, tokens):
        x = self.words(tokens)
        n, t, _ = x.shape
        sizes = [self.heads * self.head, self.shared * self.head, self.shared * self.head]
        q, k, v = (y.view(n, t, -1, self.head).transpose(1, 2) for y in self.qkv(self.norm1(x)).split(sizes, -1))
        y = functional.scaled_dot_product_attention(self.turned(q), self.turned(k), v, is_causal=True, enable_gqa=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        y = self.norm2(x)
        return self.logits(x + self.down(functional.silu(self.gate(y)) * self.up(y)))


class Experts(nn.Module):
    """Two layers of several experts as bare parameters, in Einstein's notation."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(3, 6, 10) / 3), nn.Parameter(torch.randn(3, 10, 5) / 3)
        self.words, self.router, self.head = nn.Embedding(16, 6), nn.Linear(6, 3), nn.Linear(5, 4)

    def forward(self, tokens):
        x = self.words(tokens)
        shares = self.router(x).softmax(-1)
        y = torch.einsum("nti,eih->nteh", x, self.first).relu()
        return self.head(torch.einsum("nteh,eho,nte->nto", y, self.second, shares))


class Bilinear(nn.Module):
    """Attention of one head, its scale a number: its channels are pruned one by one."""

    def __init__(self):
        super().__init__()
        self.words, self.norm = nn.Embedding(16, 8), nn.LayerNorm(8)
        self.q, self.k, self.v, self.out = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(8, 7), nn.Linear(7, 4)

    def forward(self, tokens):
        x = self.norm(self.words(tokens))
        weights = torch.bmm(self.q(x), self.k(x).transpose(1, 2)).div(2.0).softmax(-1)
        return self.out(torch.bmm(weights, self.v(x)))


# The groups that a trace must find: their sizes, and whether their units are heads. Less would be a refusal where there
# is a proof.
NETWORKS = {
    DenseNet: (
        IMAGES,
        {"stem.0.weight": 8, **{f"layers.{i}.0.weight": 4 for i in range(3)}, "transition.0.weight": 10},
    ),
    Inception: (
        IMAGES,
        {
            "stem.0.weight": 6,
            "one.0.weight": 5,
            "three.0.0.weight": 4,
            "three.1.0.weight": 6,
            "five.0.0.weight": 3,
            "five.1.0.weight": 4,
            "five.2.0.weight": 4,
            "pooled.0.weight": 4,
        },
    ),
    Detector: (
        IMAGES,
        {
            "stem.0.weight": 6,
            "fine.first.0.weight": 4,
            "fine.blocks.0.a.0.weight": 4,
            "fine.blocks.1.a.0.weight": 4,
            "fine.last.0.weight": 8,
            "down.0.weight": 12,
            "coarse.first.0.weight": 6,
            "coarse.blocks.0.a.0.weight": 6,
            "coarse.last.0.weight": 12,
            "joined.first.0.weight": 5,
            "joined.blocks.0.a.0.weight": 5,
            "joined.last.0.weight": 10,
        },
    ),
    UNet: (
        IMAGES,
        {
            **{f"down.{i}.0.weight": w for i, w in enumerate((4, 6, 8))},
            **{f"up.{i}.weight": w for i, w in enumerate((6, 4))},
            **{f"join.{i}.0.weight": w for i, w in enumerate((6, 4))},
        },
    ),
    CrossStage: (IMAGES, {"stem.0.weight": 10, "inner.0.weight": 6}),
    GroupNormed: (IMAGES, {"stem.weight": 4, "a.weight": 4}),
    Unshuffled: (IMAGES, {"stem.0.weight": 5, "mix.0.weight": 6}),
    VisionTransformer: (IMAGES, {"attention.qkv.weight": "4 heads", "mlp.0.weight": 20}),
    GroupedQueries: (WORDS, {"qkv.weight": "2 heads", "gate.weight": 18}),
    Experts: (WORDS, {"words.weight": 6, "first": 10, "second": 5}),
    Bilinear: (WORDS, {"q.weight": 6, "v.weight": 7}),
}


def example(kind, count=2):
    generator = torch.Generator().manual_seed(0)
    if NETWORKS[kind][0] == WORDS:
        return torch.randint(16, (count, 7), generator=generator)
    return torch.randn(count, 3, 8, 8, generator=generator)
