"""Random networks of the operations that the rules know."""

from __future__ import annotations

import random

import torch
from torch import nn
from torch.nn import functional


class Convolutional(nn.Module):
    """A random program over a growing list of feature maps of one size; the last ones are joined by a head."""

    def __init__(self, seed, steps=9):
        super().__init__()
        draw = random.Random(seed)
        self.layers = nn.ModuleDict()
        self.program, widths = [], [3]
        self._layer("stem", nn.Conv2d(3, 8, 3, padding=1), widths, 0, 8)
        for number in range(steps):
            getattr(self, f"_{draw.choice(OPERATIONS)}")(f"s{number}", draw, widths)
        used = {source for _, sources, _ in self.program for source in sources}
        self.ends = [i for i in range(1, len(widths)) if i not in used]
        self.head = nn.Linear(sum(widths[i] for i in self.ends), 4)

    def _layer(self, name, module, widths, source, width):
        self.layers[name] = module
        self.program.append((name, (source,), "layer"))
        widths.append(width)

    def _step(self, kind, sources, widths, width):
        self.program.append((kind, tuple(sources), "step"))
        widths.append(width)

    def _conv(self, name, draw, widths):
        source, width = self._source(draw, widths), draw.choice((4, 6, 8))
        self._layer(name, nn.Conv2d(widths[source], width, draw.choice((1, 3)), padding="same"), widths, source, width)

    def _grouped(self, name, draw, widths):
        source = self._source(draw, widths)
        if widths[source] % 2 == 0:
            width = draw.choice((4, 8))
            layer = nn.Conv2d(widths[source], width, 3, padding=1, groups=2)
            self._layer(name, layer, widths, source, width)

    def _depthwise(self, name, draw, widths):
        source = self._source(draw, widths)
        width = widths[source]
        self._layer(name, nn.Conv2d(width, width, 3, padding=1, groups=width), widths, source, width)

    def _norm(self, name, draw, widths):
        source = self._source(draw, widths)
        kinds = [nn.BatchNorm2d(widths[source])]
        if widths[source] % 4 == 0:
            kinds.append(nn.GroupNorm(4, widths[source]))
        self._layer(name, draw.choice(kinds), widths, source, widths[source])

    def _activation(self, name, draw, widths):
        source = self._source(draw, widths)
        kinds = (nn.ReLU(), nn.SiLU(), nn.Hardtanh(), nn.MaxPool2d(3, 1, 1), nn.PReLU(widths[source]))
        self._layer(name, draw.choice(kinds), widths, source, widths[source])

    def _two(self, kind, draw, widths):
        source = self._source(draw, widths)
        partners = [i for i in range(1, len(widths)) if widths[i] == widths[source]]
        self._step(kind, (source, draw.choice(partners)), widths, widths[source])

    def _add(self, name, draw, widths):
        self._two("add", draw, widths)

    def _gate(self, name, draw, widths):
        self._two("gate", draw, widths)

    def _join(self, name, draw, widths):
        sources = [self._source(draw, widths) for _ in range(2)]
        self._step("join", sources, widths, sum(widths[i] for i in sources))

    def _halves(self, name, draw, widths):
        source = self._source(draw, widths)
        if widths[source] % 2 == 0:
            self._step("halves", (source,), widths, widths[source])

    def _excite(self, name, draw, widths):
        source = self._source(draw, widths)
        self._layer(name, Excite(widths[source]), widths, source, widths[source])

    def _source(self, draw, widths):
        return draw.randrange(max(1, len(widths) - 4), len(widths))

    def forward(self, x):
        maps = [x]
        for name, sources, kind in self.program:
            values = [maps[i] for i in sources]
            maps.append(self.layers[name](*values) if kind == "layer" else STEPS[name](*values))
        return self.head(torch.cat([maps[i] for i in self.ends], 1).mean((2, 3)))


class Excite(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 3, 1), nn.Conv2d(3, width, 1)

    def forward(self, x):
        return x * self.up(functional.relu(self.down(functional.adaptive_avg_pool2d(x, 1)))).sigmoid()


OPERATIONS = [*["conv", "norm", "activation"] * 2, "grouped", "depthwise", "add", "gate", "join", "halves", "excite"]
STEPS = {
    "add": lambda a, b: a + b,
    "gate": lambda a, b: a * b.sigmoid(),
    "join": lambda a, b: torch.cat([a, b], 1),
    "halves": lambda a: torch.cat(a.chunk(2, 1)[::-1], 1),
}


class Sequential(nn.Module):
    """Random blocks on a sequence: attention of several kinds, gated and plain layers, bare parameters."""

    def __init__(self, seed, blocks=4):
        super().__init__()
        draw = random.Random(seed)
        self.words = nn.Embedding(16, 12)
        self.blocks = nn.ModuleList(draw.choice(BLOCKS)(draw) for _ in range(blocks))
        self.norms = nn.ModuleList(draw.choice((nn.LayerNorm, nn.RMSNorm, nn.Identity))(12) for _ in range(blocks))
        self.head = nn.Linear(12, 4)

    def forward(self, tokens):
        x = self.words(tokens)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x))
        return self.head(x.mean(1))


class Heads(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.shared = draw.choice((1, 2))
        self.q, self.k, self.v = nn.Linear(12, 16), nn.Linear(12, 16 // self.shared), nn.Linear(12, 16 // self.shared)
        self.out, self.fused = nn.Linear(16, 12), draw.random() < 0.5

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (-1, 4)).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.fused:
            y = functional.scaled_dot_product_attention(q, k, v, enable_gqa=self.shared > 1)
        else:
            k, v = k.repeat_interleave(self.shared, 1), v.repeat_interleave(self.shared, 1)
            y = torch.einsum("nhqk,nhkd->nhqd", (q @ k.mT / 2).softmax(-1), v)
        return self.out(y.transpose(1, 2).flatten(2))


class Gated(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.both, self.down = nn.Linear(12, 20, bias=draw.random() < 0.5), nn.Linear(10, 12)
        self.how = draw.choice((lambda x: functional.glu(x, -1), self.chunked))

    @staticmethod
    def chunked(x):
        a, b = x.chunk(2, -1)
        return functional.silu(a) * b

    def forward(self, x):
        return self.down(self.how(self.both(x)))


class Bare(nn.Module):
    def __init__(self, draw):
        super().__init__()
        width = draw.choice((6, 9))
        self.w1, self.b1 = nn.Parameter(torch.randn(12, width) / 3), nn.Parameter(torch.randn(width))
        self.scale, self.w2 = nn.Parameter(torch.rand(width)), nn.Parameter(torch.randn(width, 12) / 3)

    def forward(self, x):
        return (functional.gelu(x @ self.w1 + self.b1) * self.scale) @ self.w2


BLOCKS = (Heads, Heads, Gated, Bare)


def generated(seed):
    """A network whose norms have seen data, and what it is called with."""
    torch.manual_seed(seed)
    model = (Convolutional if seed % 2 else Sequential)(seed).double().train()
    shape = (4, 3, 6, 6)
    x = torch.randn(shape).double() if seed % 2 else torch.randint(16, (4, 5))
    with torch.no_grad():
        for name, param in model.named_parameters():
            if param.dim() == 1 and "bias" not in name:
                param.copy_(1 + 0.3 * torch.randn_like(param))
        model(x)
    return model.eval(), x
