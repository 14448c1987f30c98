"""Pruning at initialisation as the papers say it: plain loops over whole tensors, sorts, and masks that multiply."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


def weights_of(model: nn.Module) -> Weights:
    return {name: param for name, param in model.named_parameters() if param.ndim >= 2}


def kept(scores: Weights, count: int, alive: Weights | None = None) -> Weights:
    """The ``count`` highest over all layers, by a stable sort; what is not alive comes last."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    if alive is not None:
        dead = ~torch.cat([mask.flatten() for mask in alive.values()])
        flat = torch.where(dead, torch.full_like(flat, -torch.inf), flat)
    order = torch.argsort(flat, descending=True, stable=True)
    mask = torch.zeros_like(flat, dtype=torch.bool)
    mask[order[:count]] = True
    pieces = mask.split([score.numel() for score in scores.values()])
    return {name: piece.view_as(scores[name]) for (name, piece) in zip(scores, pieces, strict=True)}


def masked(model: nn.Module, masks: Weights) -> nn.Module:
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name, param in weights_of(twin).items():
            param.mul_(masks[name])
    return twin


def gradients(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> Weights:
    named = weights_of(model)
    return dict(zip(named, torch.autograd.grad(loss(model), list(named.values())), strict=True))


def synflow(model: nn.Module, shape: tuple[int, ...], sparsity: float, rounds: int) -> Weights:
    """In float64, of networks without biases and with fresh batch norms."""
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for param in model.parameters():
            param.abs_()
    names = weights_of(model)
    masks = {name: torch.ones_like(param, dtype=torch.bool) for name, param in names.items()}
    total = sum(mask.numel() for mask in masks.values())
    for k in range(1, rounds + 1):
        now = masked(model, masks)
        g = gradients(now, lambda m: m(torch.ones(1, *shape, dtype=torch.float64)).sum())
        scores = {name: param * g[name] for name, param in weights_of(now).items()}
        left = 1 - (1 - (1 - sparsity) ** (k / rounds))
        masks = kept(scores, total - round((1 - left) * total if k < rounds else sparsity * total), masks)
    return masks


def progressive(
    model: nn.Module, loss: Callable[[nn.Module], Tensor], densities: list[float], *, revival: bool
) -> list[Weights]:
    """FORCE (with revival) or iterative SNIP; the masks after each round."""
    names = weights_of(model)
    masks = {name: torch.ones_like(param, dtype=torch.bool) for name, param in names.items()}
    total, history = sum(mask.numel() for mask in masks.values()), list[Weights]()
    for density in densities:
        g = gradients(masked(model, masks), loss)
        scores = {name: (param.detach() * g[name]).abs() for name, param in names.items()}
        masks = kept(scores, total - round((1 - density) * total), None if revival else masks)
        history.append(masks)
    return history
