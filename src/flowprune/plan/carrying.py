"""What goes with a model in training, carried over a cut: the optimizer, an average of the weights, the scheduler."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from flowprune.core.arguments import require_optimizer
from flowprune.core.errors import invalid
from flowprune.core.optimizer_state import follow, held_names
from flowprune.plan.operations import OPERATIONS, Masking
from flowprune.plan.records import Plan, name_after
from flowprune.plan.saving import model_of, unwrapped
from flowprune.plan.since import Cut, drops, followed, past, prefix_of, since
from flowprune.prune import Pruner, PruneResult
from flowprune.structure.architecture import Architecture
from flowprune.structure.cut import CutPlan
from flowprune.structure.history import Moment, Operation, record_


def carry(
    cut: Cut | CutPlan,
    *,
    optimizer: Optimizer | None = None,
    before: nn.Module | None = None,
    ema: nn.Module | MutableMapping[str, Tensor] | None = None,
    scheduler: Any = None,
) -> None:
    """Let what goes with a model in training follow a cut of it, in place; all of it is checked before any is changed.

    Which cuts a thing has yet to follow is read from its shapes, so one call after several rounds is enough, and one
    too many does nothing. A gradient scaler holds nothing that a cut concerns.

    Args:
        cut: The pruned model, what ``fp.prune`` returned, its plan, or where that is saved; or what ``cut_`` returned.
        optimizer: Gets the new parameters in the places of the old, with their state sliced
            (:func:`flowprune.core.optimizer_state.follow`); :class:`flowprune.Pruner` has done it for its own.
        before: The dense model whose parameters the optimizer holds, where the cut made a copy (``fp.remove``,
            ``fp.prune``, ``fp.replay``): ``cut`` is then that copy, and is what the optimizer trains from here on.
        ema: An ``AveragedModel`` or another copy of the model, or a dictionary of shadow tensors by parameter name.
        scheduler: Is checked: it must drive this very optimizer, with a rate for each of its groups.

    Raises:
        ValueError: something belongs to another model, or an optimizer is given without ``before``.
        PruningError: the optimizer's state cannot be sliced.

    Example:
        >>> import torch, flowprune as fp
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> optimizer, shadow = torch.optim.Adam(model.parameters()), {"0.bias": torch.tensor([1.0, 2.0, 3.0])}
        >>> small = fp.remove(model, {"0.weight": torch.tensor([True, False, True])}, example_inputs=torch.ones(1, 2))
        >>> fp.carry(small, optimizer=optimizer, before=model, ema=shadow)
        >>> optimizer.param_groups[0]["params"][0] is small[0].weight, shadow["0.bias"]
        (True, tensor([1., 3.]))
    """
    plan = Plan(cut.dense, (cut.operation,)) if isinstance(cut, CutPlan) else past("carry(cut=)", cut)
    cut = cut.model if isinstance(cut, (PruneResult, Pruner)) else cut
    if optimizer is not None:
        require_optimizer("carry", optimizer)
    if before is not None:
        model_of("carry(before=)", before)
    if scheduler is not None:
        _check_scheduler(scheduler, optimizer)
    averaged = unwrapped(ema) if isinstance(ema, nn.Module) else None
    shadow = None if ema is None or averaged is not None else _checked(ema)
    for_average = () if averaged is None else _since(plan, averaged, where="carry(ema=)")
    new_shadow, stale = (None, ()) if shadow is None else _followed(plan, shadow)
    if optimizer is not None:
        _follow(optimizer, cut, plan, before)
    if averaged is not None:
        _catch_up(averaged, for_average)
    if shadow is not None and new_shadow is not None:
        for name in stale:
            del shadow[name]
        shadow.update(new_shadow)


def _follow(optimizer: Optimizer, cut: Cut | CutPlan, plan: Plan, before: nn.Module | None) -> None:
    if isinstance(cut, CutPlan):
        follow(optimizer, cut.replaced)
        return
    if not isinstance(cut, nn.Module):
        todo = "Pass the pruned model, or slice its state_dict() with fp.carry_state."
        raise invalid("carry(optimizer=)", "given with the model that it shall train", type(cut).__name__, todo)
    model = unwrapped(cut)
    old, held = None if before is None else unwrapped(before), held_names(optimizer, model)
    if held and (old is None or not held_names(optimizer, old)):
        return  # it was carried already
    if old is None:
        todo = "Pass the model whose parameters the optimizer holds."
        raise invalid("carry(before=)", "given, as the optimizer does not train the pruned model yet", None, todo)
    if not held_names(optimizer, old):
        raise invalid("carry(before=)", "the model whose parameters the optimizer holds", type(old).__name__)
    done, new = _since(plan, old, where="carry(before=)"), dict(model.named_parameters())
    after = {param: followed(name, done) for name, param in old.named_parameters()}
    follow(
        optimizer,
        {p: None if found is None or found[0] not in new else (new[found[0]], found[1]) for p, found in after.items()},
    )


def _since(plan: Plan, model: nn.Module, *, where: str) -> tuple[Operation, ...]:
    """The operations that a model has yet to follow."""
    return since(plan, Architecture.of(model).tensors, where=where, whole=drops(plan))


def _catch_up(model: nn.Module, operations: tuple[Operation, ...]) -> None:
    """Do to a copy of a model what was done to the model since."""
    for operation in operations:
        before = Moment.of(model)
        OPERATIONS[operation.kind].carry_out(model, operation)
        if not isinstance(operation, Masking):
            record_(model, before, operation)


def _checked(ema: object) -> MutableMapping[str, Tensor]:
    if not isinstance(ema, MutableMapping):
        got = getattr(ema, "__name__", type(ema).__name__)
        raise invalid("carry(ema=)", "a module, or a dictionary of tensors by parameter name", got)
    return ema


def _followed(plan: Plan, shadow: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Collection[str]]:
    """The shadow tensors as they are after what they have yet to follow, and the names that are gone."""
    where, prefix = "carry(ema=)", prefix_of(plan, shadow, where="carry(ema=)")
    bare = {n.removeprefix(prefix): tuple(v.shape) for n, v in shadow.items() if isinstance(v, Tensor)}
    # Where blocks are taken out, a name has another tensor then, so the moment is read from all of them.
    together = since(plan, bare, where=where, whole=True) if drops(plan) else None
    done = () if together is None else plan.operations[: len(plan.operations) - len(together)]
    result: dict[str, Tensor] = {}
    stale: set[str] = set()
    for dense, dense_first in {**{name: name for name in plan.dense.tensors}, **plan.dense.ties}.items():
        name, first = name_after(dense, done), name_after(dense_first, done)
        if name is None or first is None or name not in bare:
            continue
        yet = since(plan, {first: bare[name]}, where=where) if together is None else together
        tensors = {first: shadow[prefix + name]}
        for operation in yet:
            OPERATIONS[operation.kind].on_tensors(tensors, operation)
        stale.add(prefix + name)
        result |= {f"{prefix}{name_after(name, yet)}": value for value in tensors.values()}
    return result, stale - result.keys()


def _check_scheduler(scheduler: Any, optimizer: Optimizer | None) -> None:
    """Raise where a scheduler drives another optimizer, or has another number of groups; also one made of several."""
    for inner in getattr(scheduler, "_schedulers", ()):
        _check_scheduler(inner, optimizer)
    driven: Optimizer | None = getattr(scheduler, "optimizer", None)
    if optimizer is not None and driven is not None and driven is not optimizer:
        todo = "Build the scheduler on the optimizer that is carried."
        raise invalid("carry(scheduler=)", "of this optimizer", type(scheduler).__name__, todo)
    groups = None if driven is None else len(driven.param_groups)
    for name in ("base_lrs", "_last_lr", "min_lrs"):
        rates = getattr(scheduler, name, None)
        if isinstance(rates, list) and rates and groups is not None and len(rates) != groups:
            raise invalid("carry(scheduler=)", f"one with a rate for each of {groups} groups", f"{name}={rates}")
