"""Networks in use, random masks, and the masked model that a smaller one is compared with."""

from __future__ import annotations

import copy

import torch
from torch import nn

from tests.structure.removable import IMAGE


def randomised(kind, seed=0, image=IMAGE[1:]):
    """A network in double precision whose norms have been used: nothing is zero or one by accident."""
    torch.manual_seed(seed)
    model = kind().double()
    with torch.no_grad():
        for param in model.parameters():
            if param.dim() == 1:
                param.copy_(torch.randn_like(param))
    model.train()
    for _ in range(3):
        model(torch.randn(4, *image, dtype=torch.float64))
    return model


def images(seed=1, count=2, image=IMAGE[1:]):
    return torch.randn(count, *image, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class UnitMasks(dict):
    """Masks that carry their layout, as ``select`` gives them."""

    def __init__(self, masks, layout, fingerprint=None):
        super().__init__(masks)
        self.layout, self.fingerprint = layout, fingerprint


def drawn(layout, seed=0, density=0.5):
    """Random masks that keep at least one unit of each group."""
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    for name, group in layout.items():
        masks[name] = torch.rand(group.size, generator=generator) < density
        masks[name][int(torch.randint(group.size, (), generator=generator))] = True
    return UnitMasks(masks, layout)


def zeroed(model, layout, masks):
    """A copy with masked units at zero: the filters, their biases, the norms."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, mask in masks.items():
            for member in layout[name].members:
                if member.role in ("weight", "bias", "norm"):
                    gone = member.positions[~mask[member.units]]
                    model.get_parameter(member.name).transpose(0, member.axis)[gone] = 0
    return model


def outputs(model, x, mode):
    """Of a copy, so that running statistics stay what they are; random layers see the same seed."""
    model = copy.deepcopy(model).train(mode == "train")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    found = model(x)
    return found if isinstance(found, tuple) else (found,)


def assert_same(a, b, x, tolerance=1e-9):
    for mode in ("eval", "train"):
        for left, right in zip(outputs(a, x, mode), outputs(b, x, mode), strict=True):
            torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)
