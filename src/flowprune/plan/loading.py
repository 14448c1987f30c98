"""A plan carried out: on the dense model that a program builds anew, or on another checkpoint of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from flowprune.core.arguments import require_model
from flowprune.core.errors import PruningError, invalid, renamed
from flowprune.plan.folder import (
    BUFFER,
    INDICES,
    PLAN,
    WEIGHTS,
    damaged,
    folder_of,
    read_fields,
    read_plan,
    read_tensors,
)
from flowprune.plan.operations import OPERATIONS, Masking
from flowprune.plan.records import Plan, held_masks, plan_of, require_same
from flowprune.plan.saving import unwrapped
from flowprune.plan.weights import install_
from flowprune.prune import Pruner, PruneResult
from flowprune.structure.example import Example
from flowprune.structure.history import History, history_of, set_history_
from flowprune.structure.twin import copied
from flowprune.structure.verify import compare

Factory = Callable[[], nn.Module] | nn.Module
FACTORY = "the dense model, or a function that builds it"


def load(model_factory: Factory, path: Path | str) -> nn.Module:
    """The pruned model that :func:`flowprune.save` wrote, in another process.

    The dense model is built, checked against the plan, cut as it says, and filled: types, memory layout, masks that are
    held, and buffers outside the state dict are those of the saved model, and its outputs are the same to the bit. It
    stands on the devices of the dense one, and can be pruned further.

    Args:
        model_factory: Builds the dense model, of any weights, also on the meta device; what it returns is used up. Or
            the dense model itself, which stays as it is.
        path: The folder, or a file in it.

    Raises:
        ValueError: the dense model is of another architecture; the first tensor that differs, with both shapes.
        PruningError: a file is missing, damaged, or of a later version.

    Example:
        >>> import flowprune as fp, tempfile
        >>> result = fp.prune(nn.Linear(4, 2), measure="magnitude", sparsity=0.5)
        >>> again = fp.load(lambda: nn.Linear(4, 2), fp.save(result, tempfile.mkdtemp()))
        >>> torch.equal(again.weight, result.model.weight)
        True
    """
    _require_factory(model_factory, path)
    folder = folder_of(path)
    plan, fields = read_plan(folder), read_fields(folder)
    tensors = read_tensors(folder, WEIGHTS, fields)
    if not tensors:
        raise PruningError(f"load(path=) must hold {WEIGHTS}; {folder} does not. fp.replay needs the plan alone.")
    indices = read_tensors(folder, INDICES, fields)
    tensors |= {n.removeprefix(BUFFER): value for n, value in indices.items() if n.startswith(BUFFER)}
    for name in fields["channels_last"]:
        if name not in tensors:
            raise damaged(folder / PLAN, f"{name!r} is not among the tensors")
        tensors[name] = tensors[name].contiguous(memory_format=torch.channels_last)
    built = model_factory if isinstance(model_factory, nn.Module) else model_factory()
    with renamed({"load(model=)": "load(model_factory=)"}):
        dense = require_model("load", built)
    _require_dense("load(model_factory=)", plan, dense)
    model = copied(dense, "load") if dense is model_factory else dense
    _carry_out(model, plan, example=None)
    install_(model, tensors, where="load(path=)")
    return _held(model, plan)


def replay(
    plan: Plan | PruneResult | Pruner | Path | str, model: nn.Module, *, example_inputs: object = None
) -> nn.Module:
    """A smaller copy of another checkpoint of the same architecture, cut as the plan says: its own weights are sliced.

    Args:
        plan: A plan, what ``fp.prune`` returned, the folder of a plan, or a file in it; the saved weights are not
            needed.
        model: Dense; it stays as it is.
        example_inputs: What the model is called with; where they are given, it is verified on them, as
            :func:`flowprune.remove` does, that the copy computes what the masked model computes.

    Raises:
        ValueError: the model is of another architecture; the first tensor that differs, with both shapes.
        PruningError: a file is missing, damaged or of a later version, or the two models differ.

    Example:
        >>> import flowprune as fp
        >>> model, other = (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)) for _ in range(2))
        >>> x, keep = torch.ones(1, 2), torch.tensor([True, False, True])
        >>> plan = fp.plan.plan_of(fp.remove(model, {"0.weight": keep}, example_inputs=x))
        >>> small = fp.replay(plan, other, example_inputs=x)
        >>> torch.equal(small[0].weight, other[0].weight[keep])
        True
    """
    _require_plan(plan, model)
    if isinstance(plan, (PruneResult, Pruner)):
        plan = plan_of(unwrapped(plan.model))
    plan = plan if isinstance(plan, Plan) else read_plan(plan)
    _require_dense("replay(model=)", plan, require_model("replay", model))
    small = copied(model, "replay")
    _carry_out(small, plan, example=None if example_inputs is None else Example.of(example_inputs))
    return _held(small, plan)


def _require_factory(given: object, path: object) -> None:
    """Raise where what builds the dense model is nothing of the kind."""
    if isinstance(given, (Path, str)) and not isinstance(path, (Path, str)):
        raise invalid(
            "load(model_factory=)", FACTORY, given, "The arguments are swapped: fp.load(model_factory, path)."
        )
    if not (isinstance(given, nn.Module) or callable(given)):
        raise invalid("load(model_factory=)", FACTORY, given)
    if not isinstance(path, (Path, str)):
        raise invalid("load(path=)", "the folder that fp.save wrote", type(path).__name__)


def _require_plan(plan: object, model: object) -> None:
    """Raise where what says how to cut is nothing that does."""
    if isinstance(plan, (Plan, PruneResult, Pruner, Path, str)):
        return
    todo = "Pass fp.plan.plan_of(model) for what was cut of a model."
    if isinstance(model, (Plan, PruneResult, Pruner, Path, str)):
        todo = "The arguments are swapped: fp.replay(plan, model)."
    raise invalid("replay(plan=)", "a plan, what fp.prune returned, or a folder", type(plan).__name__, todo)


def _require_dense(where: str, plan: Plan, model: nn.Module) -> None:
    """Raise where a model is of another architecture, or was pruned already."""
    require_same(where, plan, model)
    if held_masks(model) or history_of(model).operations:
        todo = "Build it anew, or release its masks with fp.release(model)."
        raise invalid(where, "the model before it was pruned", "one with a plan or masks of its own", todo)


def _carry_out(model: nn.Module, plan: Plan, example: Example | None) -> None:
    """Every operation but the masks; each is compared, on the example, with its imitation at full size."""
    for operation in plan.operations:
        if isinstance(operation, Masking):
            continue
        kind = OPERATIONS[operation.kind]
        masked = None if example is None else copied(model, "replay")
        kind.carry_out(model, operation)
        if masked is not None and example is not None:
            kind.imitate(masked, operation)
            compare(masked, copied(model, "replay"), example)


def _held(model: nn.Module, plan: Plan) -> nn.Module:
    """The model with its masks held and its record kept."""
    for operation in plan.operations:
        if isinstance(operation, Masking):
            OPERATIONS[operation.kind].carry_out(model, operation)
    done = tuple(operation for operation in plan.operations if not isinstance(operation, Masking))
    if done:
        set_history_(model, History(plan.dense, done))
    return model
