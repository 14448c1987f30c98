"""An autoencoder of two components, with what its tests share."""

import torch
from torch import nn

import flowprune as fp
from flowprune.analysis import COMPONENT_METRICS, ComponentImportance

LAPLACE = {
    name: {"examples": 100, "prior": 2.0} if COMPONENT_METRICS[name].variance else {} for name in COMPONENT_METRICS
}
PARTS = {"encoder": "encoder.", "decoder": ("decoder",)}


class Autoencoder(nn.Module):
    """Two layers each way, and a gain that belongs to neither."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
        self.decoder = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 6))
        self.gain = nn.Parameter(torch.ones(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.decoder(self.encoder(x))


def autoencoder(seed: int = 0) -> Autoencoder:
    torch.manual_seed(seed)
    return Autoencoder()


def reconstruction(n: int = 3, size: int = 8, seed: int = 1) -> list:
    generator = torch.Generator().manual_seed(seed)
    return [(x, x) for x in torch.randn(n, size, 6, generator=generator)]


def backward(model: nn.Module, batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    fp.objectives.mean_squared_error()(model, batch).backward()
    return {name: param.grad.clone() for name, param in model.named_parameters() if param.grad is not None}


def under(values: dict, prefix: str) -> torch.Tensor:
    return torch.cat([value.flatten() for name, value in values.items() if name.startswith(prefix)])


def tracked(model: nn.Module, components=PARTS, metric: str = "gradient") -> ComponentImportance:
    tracker = ComponentImportance(model, components=components, metric=metric, **LAPLACE[metric])
    backward(model, reconstruction(1)[0])
    tracker.update()
    tracker.record()
    return tracker
