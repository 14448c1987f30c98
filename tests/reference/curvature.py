"""The generalised Gauss-Newton matrix in full, example by example: Jᵀ (∇²_z ℓ) J."""

from __future__ import annotations

import torch
from torch.func import functional_call, hessian, jacrev


def gauss_newton(model, loss, inputs, targets):
    """E over examples of the whole matrix, ``(p, p)``, for parameters flattened in the model's order.

    ``loss`` is of one example's outputs ``(k,)`` and its target.
    """
    params = dict(model.named_parameters())
    total = 0.0
    for x, y in zip(inputs, targets, strict=True):

        def outputs(at, x=x):
            return functional_call(model, at, (x[None],))[0].flatten()

        jacobian = torch.cat([j.flatten(1) for j in jacrev(outputs)(params).values()], 1)
        curvature = hessian(lambda z, y=y: loss(z, y))(outputs(params).detach())
        total = total + jacobian.T @ curvature @ jacobian
    return (total / len(inputs)).detach()


def class_sum(model, inputs, temperature=1.0):
    """The diagonal for cross-entropy as the loss-modelling paper has it: Σ_j of squared gradients of √p_j log p_j."""
    params = list(model.parameters())
    total = torch.zeros(sum(p.numel() for p in params), dtype=params[0].dtype)
    for x in inputs:
        logp = torch.log_softmax(model(x[None])[0] / temperature, 0)
        for entry in logp:
            weighted = entry.exp().detach().sqrt() * entry
            gradient = torch.autograd.grad(weighted, params, retain_graph=True)
            total += torch.cat([g.flatten() for g in gradient]).square()
    return total / len(inputs)
