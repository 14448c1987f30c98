"""Tiny networks, one per thing that removal has to get right."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

IMAGE = (2, 3, 8, 8)


class Plain(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        )


class ActivationFirst(nn.Sequential):
    """Conv, ReLU, BN: the order of the paper's VGG."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(6),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 5, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(5),
            nn.Flatten(),
            nn.Linear(80, 7),
            nn.SiLU(),
            nn.Linear(7, 4),
        )


class Block(nn.Module):
    def __init__(self, before, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        y += self.shortcut(x)
        return functional.relu(y, inplace=True)


class Residual(nn.Module):
    def __init__(self, blocks=2):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        layers = [Block(6, 6, 1) for _ in range(blocks)] + [Block(6, 8, 2)] + [Block(8, 8, 1) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.layers(functional.relu(self.bn(self.stem(x))))
        return self.head(x.mean((2, 3)))


class PreActivation(nn.Module):
    """Norms that read the residual stream."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(6), nn.BatchNorm2d(5), nn.BatchNorm2d(6)
        self.conv1 = nn.Conv2d(6, 5, 3, padding=1)
        self.conv2 = nn.Conv2d(5, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.conv2(functional.relu(self.bn2(self.conv1(functional.relu(self.bn1(x))))))
        return self.head(functional.relu(self.bn3(x)).mean((2, 3)))


class PaddedShortcut(nn.Module):
    """The parameter-free shortcut of the CIFAR ResNets: every second pixel, zeros for the new channels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 10, 3, 2, 1)
        self.bn = nn.BatchNorm2d(10)
        self.head = nn.Linear(10, 4)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        x = self.bn(self.conv(x)) + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return self.head(functional.relu(x).mean((2, 3)))


class Separable(nn.Module):
    def __init__(self, multiplier=1):
        super().__init__()
        m = multiplier
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.bn0 = nn.BatchNorm2d(6)
        self.dw = nn.Conv2d(6, 6 * m, 3, padding=1, groups=6)
        self.bn1 = nn.BatchNorm2d(6 * m)
        self.pw = nn.Conv2d(6 * m, 5, 1)
        self.bn2 = nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = functional.relu(self.bn0(self.stem(x)))
        x = functional.relu6(self.bn2(self.pw(functional.hardswish(self.bn1(self.dw(x))))))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Multiplied(Separable):
    """Two depthwise filters per channel."""

    def __init__(self):
        super().__init__(2)


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 12, 3, padding=1, groups=4)
        self.bn = nn.BatchNorm2d(12)
        self.c = nn.Conv2d(12, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(functional.leaky_relu(self.c(self.bn(self.b(functional.elu(self.a(x)))))).mean((-1, -2)))


class Shuffled(nn.Module):
    """ShuffleNet: channels dealt out again between grouped convolutions."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 1)
        self.b = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.c = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = functional.relu(self.b(functional.relu(self.a(x))))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(functional.relu(self.c(x)).mean((2, 3)))


class FlattenLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.hidden = nn.Linear(5 * 9, 6)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = functional.max_pool2d(torch.tanh(self.conv(x)), 2)
        x = x.view(x.size(0), -1)
        return self.head(functional.dropout(functional.relu(self.norm(self.hidden(x))), 0.0, self.training))


class Perceptron(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Flatten(), nn.Linear(192, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 4)
        )


class Dense(nn.Module):
    """Concatenation, as in DenseNet."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 5, 3, padding=1)
        self.b = nn.Conv2d(5, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(9)
        self.c = nn.Conv2d(9, 6, 3, padding=1)
        self.head = nn.Linear(15, 4)

    def forward(self, x):
        a = functional.relu(self.a(x))
        ab = torch.cat([a, self.b(a)], 1)
        c = self.c(functional.relu(self.bn(ab)))
        return self.head(torch.cat([c, ab], 1).amax((2, 3)).flatten(1))


class Halved(nn.Module):
    """Gated linear unit: two halves of one layer."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 10, 3)
        self.b = nn.Conv2d(5, 6, 3)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        a, b = self.a(x).chunk(2, 1)
        return self.head(functional.relu(self.b(a * torch.sigmoid(b))).mean((2, 3)))


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.bn = nn.BatchNorm2d(6)
        self.down = nn.Conv2d(6, 3, 1)
        self.up = nn.Conv2d(3, 6, 1)
        self.last = nn.Conv2d(6, 5, 3)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = functional.relu(self.bn(self.conv(x)))
        gate = torch.sigmoid(self.up(functional.relu(self.down(functional.adaptive_avg_pool2d(x, 1)))))
        return self.head(functional.relu(self.last(x * gate)).mean((2, 3)))


class Twice(nn.Module):
    """One convolution called twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        for _ in range(2):
            x = functional.relu(self.bn(self.conv(x)))
        return self.head(x.mean((2, 3)))


class Functional(nn.Module):
    """Weights that no layer module holds, one of them transposed, one scale, one offset."""

    def __init__(self):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(7, 192) * 0.1)
        self.w2 = nn.Parameter(torch.randn(7, 6) * 0.1)
        self.w3 = nn.Parameter(torch.randn(4, 6) * 0.1)
        self.scale = nn.Parameter(torch.rand(7))
        self.offset = nn.Parameter(torch.rand(1, 6))

    def forward(self, x):
        x = functional.relu(functional.linear(x.flatten(1), self.w1)) * self.scale
        return functional.linear(functional.relu(x @ self.w2 + self.offset), self.w3)


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(192, 6)
        self.a = nn.Linear(6, 6)
        self.b = nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(functional.relu(self.b(functional.relu(self.a(functional.relu(self.inner(x.flatten(1))))))))


class Autoencoder(nn.Module):
    """The decoder's weight is the encoder's, transposed."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(192, 9)
        self.code = nn.Linear(9, 5)
        self.head = nn.Linear(9, 4)

    def forward(self, x):
        code = functional.relu(self.code(functional.relu(self.inner(x.flatten(1)))))
        return self.head(functional.relu(functional.linear(code, self.code.weight.t())))


class Upsampled(nn.Module):
    """Transposed convolutions, grouped and depthwise."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3)
        self.b = nn.ConvTranspose2d(6, 8, 3)
        self.c = nn.ConvTranspose2d(8, 6, 3, groups=2)
        self.d = nn.ConvTranspose2d(6, 6, 3, groups=6)
        self.prelu = nn.PReLU(6)
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, x):
        return self.head(
            self.prelu(self.d(functional.relu(self.c(functional.relu(self.b(functional.relu(self.a(x))))))))
        )


class TrainingHead(nn.Module):
    """A second head that only training uses."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3)
        self.bn = nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, 5, 3)
        self.head, self.extra = nn.Linear(5, 4), nn.Linear(6, 4)

    def forward(self, x):
        x = functional.relu(self.bn(self.a(x)))
        y = self.head(functional.relu(self.b(x)).mean((2, 3)))
        return (y, self.extra(x.mean((2, 3)))) if self.training else y


class SubPixel(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 12, 3, padding=1)
        self.b = nn.Conv2d(3, 5, 3)
        self.head = nn.Conv2d(5, 2, 1)

    def forward(self, x):
        return self.head(
            functional.relu(self.b(functional.interpolate(functional.pixel_shuffle(self.a(x), 2), scale_factor=0.5)))
        )


# The groups that a trace must find in each, with their sizes. Less would be a refusal where there is a proof.
PRUNABLE = {
    Plain: {"0.weight": 6, "3.weight": 8},
    ActivationFirst: {"0.weight": 6, "4.weight": 5, "8.weight": 7},
    Residual: {
        "stem.weight": 6,
        "layers.0.conv1.weight": 6,
        "layers.1.conv1.weight": 6,
        "layers.2.conv1.weight": 8,
        "layers.2.conv2.weight": 8,
        "layers.3.conv1.weight": 8,
        "layers.4.conv1.weight": 8,
    },
    PreActivation: {"stem.weight": 6, "conv1.weight": 5},
    PaddedShortcut: {"stem.weight": 6},
    Separable: {"stem.weight": 6, "pw.weight": 5},
    Multiplied: {"stem.weight": 6, "pw.weight": 5},
    Grouped: {"a.weight": 2, "b.weight": 3, "c.weight": 6},
    Shuffled: {"a.weight": 4, "b.weight": 2, "c.weight": 4},
    FlattenLinear: {"conv.weight": 5, "hidden.weight": 6},
    Perceptron: {"1.weight": 9, "4.weight": 7},
    Dense: {"a.weight": 5, "b.weight": 4, "c.weight": 6},
    Halved: {"a.weight": 5, "b.weight": 6},
    SqueezeExcite: {"conv.weight": 6, "down.weight": 3, "last.weight": 5},
    Twice: {"stem.weight": 6},
    Functional: {"w1": 7, "w2": 6},
    Tied: {"inner.weight": 6},
    Autoencoder: {"inner.weight": 9, "code.weight": 5},
    Upsampled: {"a.weight": 6, "b.weight": 4, "c.weight": 3},
    TrainingHead: {"a.weight": 6, "b.weight": 5},
    SubPixel: {"a.weight": 3, "b.weight": 5},
}
every = pytest.mark.parametrize("kind", PRUNABLE, ids=lambda kind: kind.__name__)
