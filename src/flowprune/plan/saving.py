"""A pruned model on disk, without pickles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from flowprune.core.arguments import require_model
from flowprune.core.errors import invalid
from flowprune.plan.folder import write_plan
from flowprune.plan.records import Plan, plan_of
from flowprune.prune import Pruner, PruneResult


def save(
    pruned: nn.Module | PruneResult | Pruner,
    folder: Path | str,
    *,
    measure: str | None = None,
    seeds: Mapping[str, int] | None = None,
) -> Path:
    """Write a pruned model: the plan of what was done to it, and its tensors. :func:`flowprune.load` reads it.

    ``plan.json`` holds the architecture before, the operations in order (positions kept along each axis, attributes
    that changed, masks that are held), versions and checksums; long indices are bits in ``plan.safetensors``;
    ``model.safetensors`` is the state dict. The plan is what :func:`flowprune.remove`, :func:`flowprune.prune`,
    :class:`flowprune.Pruner` and :func:`flowprune.apply` did to the model, over any number of rounds. Zeros of single
    weights that nothing holds (after :func:`flowprune.release`) are weights like others. ``Masks.save`` writes masks
    alone.

    Args:
        pruned: The model, or what pruned it. Of a model in ``DataParallel``, ``DistributedDataParallel``,
            ``AveragedModel`` or ``torch.compile``, the inner one is saved.
        folder: Made where it is not there; an older plan in it is replaced, all of it or, where the process dies
            meanwhile, nothing of it.
        measure: Its name; taken from a result or a pruner.
        seeds: By what they were for, e.g. ``{"init": 0}``; that of the measure is taken from a result or a pruner.

    Returns:
        The folder.

    Raises:
        ValueError: ``pruned`` is neither, its state dict holds something that is no tensor, or the folder cannot be
            written.
        PruningError: something other than flowprune resized its tensors.

    Example:
        >>> import flowprune as fp, tempfile, torch
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> small = fp.remove(model, {"0.weight": torch.tensor([True, False, True])}, example_inputs=torch.ones(1, 2))
        >>> folder = fp.save(small, tempfile.mkdtemp(), measure="by hand")
        >>> sorted(file.name for file in folder.iterdir())
        ['model.safetensors', 'plan.json']
    """
    model = unwrapped(require_model("save", model_of("save(pruned=)", pruned)))
    plan = replace(plan_of(model), measure=measure, seeds=dict(seeds or {}))
    plan = replace(plan, sparsity=_sparsity(plan))
    if not isinstance(pruned, nn.Module):
        plan = _with_origin(plan, pruned)
    write_plan(Path(folder), plan, model)
    return Path(folder)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of wrappers that put a prefix before its names.

    Example:
        >>> unwrapped(AveragedModel(nn.Linear(2, 3)))
        Linear(in_features=2, out_features=3, bias=True)
    """
    while True:
        if isinstance(model, (DataParallel, DistributedDataParallel, AveragedModel)):
            model = model.module
        elif isinstance(inner := model._modules.get("_orig_mod"), nn.Module):  # torch.compile
            model = inner
        else:
            return model


def model_of(where: str, pruned: nn.Module | PruneResult | Pruner) -> nn.Module:
    """The model itself, or that of what pruned it.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(pruned, nn.Module):
        return pruned
    if not isinstance(pruned, (PruneResult, Pruner)):
        raise invalid(where, "a model, a PruneResult or a Pruner", type(pruned).__name__)
    return pruned.model


def _with_origin(plan: Plan, pruned: PruneResult | Pruner) -> Plan:
    """The plan with what is known of how it came about."""
    measure = pruned.measure if isinstance(pruned, PruneResult) else pruned.measure.name
    options = pruned.options if isinstance(pruned, PruneResult) else pruned.rule.options
    seeds = {"measure": options["seed"]} if isinstance(options.get("seed"), int) else {}
    masks = pruned.masks
    return replace(
        plan,
        measure=plan.measure or measure,
        seeds={**seeds, **plan.seeds},
        sparsity=plan.sparsity if masks is None else masks.sparsity,
    )


def _sparsity(plan: Plan) -> float | None:
    """Fraction of the units that are gone; None where there are none, or channels and single weights beside them."""
    if plan.masks and len(plan.units) > len(plan.masks):
        return None
    total = sum(of for _, of in plan.units.values())
    return 1 - sum(kept for kept, _ in plan.units.values()) / total if total else None
