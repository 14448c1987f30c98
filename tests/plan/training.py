"""Pairs of a masked and a smaller model, trained alike."""

from __future__ import annotations

import copy

import torch

import flowprune as fp
from tests.structure.comparing import drawn, images, randomised
from tests.structure.removable import Separable

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "sgd_foreach": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, foreach=True),
    "sgd_fused": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam_foreach": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, foreach=True),
    "adam_fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "adamw_fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
}


def train(model, optimizer, steps=1, seed=0):
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        model(images(seed + 100 + step, count=4)).square().mean().backward()
        optimizer.step()


def subject(name="sgd", kind=Separable, steps=3):
    """A model in the middle of its training, the optimizer, and masks with their layout."""
    model = randomised(kind)
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, steps)
    masks = drawn(fp.trace(model, images()).groups, seed=2)
    return model, optimizer, masks


def masked_twin(model, optimizer, masks):
    """A copy of both in which the units are held at zero: what the smaller model is compared with."""
    twin, state = copy.deepcopy(model), copy.deepcopy(optimizer.state_dict())
    again = type(optimizer)(twin.parameters(), lr=0.1)
    again.load_state_dict(state)
    fp.apply(twin, fp.Masks(dict(masks), layout=masks.layout))
    return twin, again


def kept_entries(plan, tensors):
    """Tensors of the dense model at the positions that a plan keeps."""
    result = dict(tensors)
    for operation in plan.operations:
        if operation.kind == "remove":
            for name, axes in operation.kept.items():
                for axis, positions in axes if name in result else ():
                    result[name] = result[name].index_select(axis, positions)
    return result


def in_rounds(model, optimizer, example_inputs):
    """A pruner that cuts three times, by magnitude."""
    return fp.Pruner(
        model,
        optimizer,
        measure="magnitude",
        granularity=fp.Channels(example_inputs=example_inputs),
        objective=None,
        schedule=fp.schedules.rounds(3, sparsity=0.6),
    )
