"""The state of a run as named tensors, and a fresh run put into that state."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from flowprune.core.errors import PruningError
from flowprune.core.fingerprint import fingerprint
from flowprune.experiments.parts import Parts
from flowprune.masks import Masks
from flowprune.measures import Granularity
from flowprune.prune import Pruner, carry_out_
from flowprune.signals import Signals, gather

MODEL, OPTIMIZER, MASK, RANDOM = "model/", "optimizer/", "mask/", "random"


def pack(model: nn.Module, optimizer: Optimizer, masks: Masks | None) -> dict[str, Tensor]:
    """Everything that the run goes on from: weights and buffers, optimizer state by parameter name, masks.

    The masks are in coordinates of the dense model, the rest is as small as the model is now.
    """
    tensors = {f"{MODEL}{name}": value for name, value in model.state_dict().items()}
    names = {id(param): name for name, param in model.named_parameters()}
    for param, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{OPTIMIZER}{names[id(param)]}/{key}"] = value
    for name, mask in (masks or {}).items():
        tensors[f"{MASK}{name}"] = mask
    return {**tensors, RANDOM: torch.get_rng_state()}


def unpack(tensors: Mapping[str, Tensor], parts: Parts, pruner: Pruner | None, *, rounds: int) -> None:
    """Put freshly built parts into the state of ``tensors``: cut first, then every value by name.

    Raises:
        PruningError: the tensors are not of this model.
    """
    kept = _under(MASK, tensors)
    if kept and pruner is not None:
        masks = original_masks(parts.model, parts.granularity, kept)
        if masks.layout:
            replaced = shrink(parts.model, masks)
            _swap(parts.optimizer, replaced)
        pruner.resume(masks, rounds=rounds)
    try:
        parts.model.load_state_dict(_under(MODEL, tensors))
    except RuntimeError as error:
        raise PruningError(f"The checkpoint must be of this spec's model; it is not: {error}") from None
    params = dict(parts.model.named_parameters())
    for name, value in _under(OPTIMIZER, tensors).items():
        owner, _, key = name.rpartition("/")
        param = params[owner]
        parts.optimizer.state[param][key] = value.to(param.device).clone()
    torch.set_rng_state(tensors[RANDOM])


def original_masks(dense: nn.Module, granularity: Granularity, kept: Mapping[str, Tensor]) -> Masks:
    """Masks of the dense model from plain tensors, with the layout that the granularity finds in it."""
    signals: Signals = gather(dense, _no_objective, (), needs=())
    layout = granularity.layout(signals)
    names = [n for n in (signals.params if layout is None else layout) if n in kept]  # ties follow this order
    return Masks(
        {name: kept[name] for name in names},
        layout=None if layout is None else {name: layout[name] for name in names},
        fingerprint=signals.fingerprint,
    )


def shrink(dense: nn.Module, masks: Masks) -> dict[nn.Parameter, nn.Parameter]:
    """Carry masks out on a dense model in place; the parameters that were replaced, old to new."""
    before = dict(dense.named_parameters())
    if masks.fingerprint != fingerprint(before):
        raise PruningError("shrink(masks=) must be of this dense model; their fingerprints differ.")
    carry_out_(dense, masks)
    after = dict(dense.named_parameters())
    return {before[name]: after[name] for name in before if before[name] is not after[name]}


def _swap(optimizer: Optimizer, replaced: Mapping[nn.Parameter, nn.Parameter]) -> None:
    """A fresh optimizer has no state yet: its parameters are simply exchanged."""
    for group in optimizer.param_groups:
        group["params"] = [replaced.get(param, param) for param in group["params"]]


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _no_objective(forward: object, batch: object) -> Tensor:
    """Never called: nothing is gathered but the parameters."""
    raise PruningError("no objective is needed here")
