"""Small networks for the tests of pruning."""

import torch
from torch import nn


class Residual(nn.Module):
    """A stem, one block with an identity shortcut, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.conv1, self.norm1 = nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.conv2, self.norm2 = nn.Conv2d(12, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return self.head(torch.relu(x + y).mean((2, 3)))


class Attention(nn.Module):
    """Self-attention that counts its own heads, in a block with an MLP."""

    def __init__(self, width: int = 12, num_heads: int = 6, head_dim: int = 4) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        self.query, self.key, self.value = (nn.Linear(width, num_heads * head_dim) for _ in range(3))
        self.out = nn.Linear(num_heads * head_dim, width)
        self.up, self.down = nn.Linear(width, 24), nn.Linear(24, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (*x.shape[:2], self.num_heads, self.head_dim)
        q, k, v = (part(x).view(shape).transpose(1, 2) for part in (self.query, self.key, self.value))
        found = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(found.transpose(1, 2).reshape(*x.shape[:2], -1))
        return x + self.down(torch.relu(self.up(x)))


def transformer() -> tuple[nn.Module, torch.Tensor]:
    """Two blocks with heads of attention, and what they are called with."""
    torch.manual_seed(0)
    return nn.Sequential(Attention(), Attention(), nn.Flatten(), nn.Linear(60, 4)), torch.randn(16, 5, 12)


def convnet() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(12),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * 9, 16),
        nn.ReLU(),
        nn.Linear(16, 4),
    )


def residual() -> nn.Module:
    torch.manual_seed(0)
    return Residual()


def batches(n: int = 3, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    g = torch.Generator().manual_seed(seed)
    return [(torch.randn(16, 1, 6, 6, generator=g), torch.randint(0, 4, (16,), generator=g)) for _ in range(n)]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, data: list) -> None:
    model.train()
    for x, y in data:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
