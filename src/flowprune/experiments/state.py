"""The state of a run as named tensors, and a fresh run put into that state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

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
from flowprune.train import State
from flowprune.train.loss_scale import LossScale
from flowprune.train.tally import Tally

MODEL, OPTIMIZER, MASK, OBSERVED, BEST = "model/", "optimizer/", "mask/", "observed/", "best/"
ANCHOR, RANDOM = "anchor/", "random"


def pack(
    model: nn.Module, optimizer: Optimizer, masks: Masks | None, anchor: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """Everything that the run goes on from: weights and buffers, optimizer state by parameter name, masks, anchor.

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
    for name, value in (anchor or {}).items():
        tensors[f"{ANCHOR}{name}"] = value
    return {**tensors, RANDOM: torch.get_rng_state()}


def unpack(
    tensors: Mapping[str, Tensor], parts: Parts, pruner: Pruner | None, *, rounds: int, event: object = None
) -> None:
    """Put freshly built parts into the state of ``tensors``: cut first, then every value by name.

    ``event`` is the state of what the first cut waits for.

    Raises:
        PruningError: the tensors are not of this model.
    """
    kept, masks = under(MASK, tensors), None
    if kept and pruner is not None:
        masks = original_masks(parts.model, parts.granularity, kept)
        if masks.layout:
            replaced = shrink(parts.model, masks)
            _swap(parts.optimizer, replaced)
    if pruner is not None:
        pruner.resume(masks, rounds=rounds, event=cast("Mapping[str, Any] | None", event))
        pruner.anchor = under(ANCHOR, tensors) or None
    try:
        parts.model.load_state_dict(under(MODEL, tensors))
    except RuntimeError as error:
        raise PruningError(f"The checkpoint must be of this spec's model; it is not: {error}") from None
    params = dict(parts.model.named_parameters())
    for name, value in under(OPTIMIZER, tensors).items():
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


def shrink(dense: nn.Module, masks: Masks) -> dict[nn.Parameter, nn.Parameter | None]:
    """Carry masks out on a dense model in place; the parameters that left it, old to new; None where they have none."""
    before = dict(dense.named_parameters())
    if masks.fingerprint != fingerprint(before):
        raise PruningError("shrink(masks=) must be of this dense model; their fingerprints differ.")
    plan = carry_out_(dense, masks)
    return {old: None if successor is None else successor[0] for old, successor in plan.replaced.items()}


def _swap(optimizer: Optimizer, replaced: Mapping[nn.Parameter, nn.Parameter | None]) -> None:
    """A fresh optimizer has no state yet: its parameters are simply exchanged."""
    for group in optimizer.param_groups:
        successors = (replaced.get(param, param) for param in group["params"])
        group["params"] = [param for param in successors if param is not None]


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def told(now: State) -> dict[str, object]:
    """What is known of the epoch just trained, as JSON can hold it."""
    tally = now.tally
    return {
        "iteration": now.iteration,
        "per_epoch": now.per_epoch,
        "total_loss": float(tally.total_loss),
        "examples": tally.examples,
        "correct": None if tally.correct is None else int(tally.correct),
        "last": now.last_loss,
        "learning_rate": now.learning_rate,
        "seconds": now.seconds,
    }


def moment(fields: Mapping[str, Any], parts: Parts) -> State:
    """The moment that :func:`told` told of, with these parts."""
    correct = None if fields["correct"] is None else torch.tensor(fields["correct"])
    tally = Tally(fields["total_loss"], fields["examples"], correct)
    last = None if fields["last"] is None else torch.tensor(fields["last"])
    where = (fields["iteration"], fields["per_epoch"], tally, last, fields["learning_rate"], fields["seconds"])
    return State(parts.model, parts.optimizer, *where)


def scale_of(parts: Parts) -> list[float] | None:
    """The state of the loss scaling; None where losses are not scaled."""
    scale: LossScale | None = getattr(parts.trained, "scale", None)
    return None if scale is None else [scale.scale, scale.good]


def set_scale(parts: Parts, found: object) -> None:
    """Go on with the loss scaling of :func:`scale_of`."""
    scale: LossScale | None = getattr(parts.trained, "scale", None)
    if scale is not None and found is not None:
        value, good = cast("list[float]", found)
        scale.scale, scale.good = value, int(good)


def _no_objective(forward: object, batch: object) -> Tensor:
    """Never called: nothing is gathered but the parameters."""
    raise PruningError("no objective is needed here")
