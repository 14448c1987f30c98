"""Whether a saved plan is whole, and what it makes is sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from flowprune.core.errors import PruningError
from flowprune.core.tensors import require_finite
from flowprune.plan.exchange import whole
from flowprune.plan.folder import INDICES, PLAN, WEIGHTS, folder_of, read_fields, read_plan, read_tensors
from flowprune.plan.loading import Factory, load
from flowprune.plan.records import Plan
from flowprune.structure.attributes import fix_attributes
from flowprune.structure.settings import changed, stated


@dataclass(frozen=True, eq=False)
class Verified:
    """What was found sound.

    Attributes:
        plan: As it was read.
        checks: What was verified, in words.
        parameters: Numbers in the parameters after.
        parameters_dense: Before.
        nonzeros: Of those after, the ones that are not zero; None where the weights are not in the folder.
        bytes: Of each file.
    """

    plan: Plan
    checks: tuple[str, ...]
    parameters: int
    parameters_dense: int
    nonzeros: int | None
    bytes: Mapping[str, int]


def verify(path: Path | str, model_factory: Factory | None = None) -> Verified:
    """Check the folder of a plan: files, version, shapes, values; with the dense model also what it loads to.

    Args:
        path: What :func:`flowprune.save` wrote, or a file in it.
        model_factory: As for :func:`flowprune.load`; without it nothing is built.

    Raises:
        ValueError: a weight is not finite, or the dense model is of another architecture.
        PruningError: the first other thing that does not hold.

    Example:
        >>> import flowprune as fp, tempfile
        >>> folder = fp.save(fp.prune(nn.Linear(4, 2), measure="magnitude", sparsity=0.5), tempfile.mkdtemp())
        >>> found = fp.plan.verify(folder, lambda: nn.Linear(4, 2))
        >>> found.checks
        ('checksums', 'version', 'shapes', 'finite', 'masked weights are zero', 'loads', 'attributes')
        >>> found.parameters, found.nonzeros
        (10, 6)
    """
    folder = folder_of(path)
    plan, fields = read_plan(folder), read_fields(folder)
    tensors = read_tensors(folder, WEIGHTS, fields)
    checks = ["checksums", "version"]
    if tensors:
        _check_shapes(plan, tensors)
        _check_finite(plan, tensors)
        checks += ["shapes", "finite"]
        if plan.masks:
            _check_masked(plan, tensors)
            checks.append("masked weights are zero")
    if model_factory is not None:
        _check_attributes(load(model_factory, folder))
        checks += ["loads", "attributes"]
    held = [tensors[name] for name in plan.parameters if name in tensors]
    return Verified(
        plan,
        tuple(checks),
        sum(torch.Size(shape).numel() for shape in plan.parameters.values()),
        sum(torch.Size(shape).numel() for shape in plan.dense.parameters.values()),
        sum(int(torch.count_nonzero(value)) for value in held) if tensors else None,
        _sizes(folder, fields["files"]),
    )


def _sizes(folder: Path, files: Mapping[str, str]) -> dict[str, int]:
    """Bytes of the plan and of each file that it names, wherever this is."""
    found = {name: whole(folder / name, files[name]) for name in (INDICES, WEIGHTS) if name in files}
    places = {PLAN: folder / PLAN, **found}
    return {name: place.stat().st_size for name, place in places.items() if place is not None}


def _check_shapes(plan: Plan, tensors: Mapping[str, Tensor]) -> None:
    """The parameters of the plan are there, in the shapes that it makes."""
    for name, shape in plan.parameters.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != shape:
            raise PruningError(
                f"{WEIGHTS} must hold what the plan makes; {name} is {found or 'missing'}, by the plan {shape}. "
                "The two files are of different models."
            )


def _check_finite(plan: Plan, tensors: Mapping[str, Tensor]) -> None:
    """Parameters are finite; buffers, which may hold infinities on purpose, are numbers."""
    named = plan.parameters
    params = {name: value for name, value in tensors.items() if name in named}
    require_finite(f"{WEIGHTS}: parameters", params)
    for name, value in tensors.items():
        if name not in params and bool(torch.isnan(value).any()):
            raise PruningError(f"{WEIGHTS}: buffers must be numbers; {name!r} holds NaN. Train again from before it.")


def _check_masked(plan: Plan, tensors: Mapping[str, Tensor]) -> None:
    for name, mask in plan.masks.items():
        moved = int(torch.count_nonzero(tensors[name][~mask]))
        if moved:
            raise PruningError(
                f"{WEIGHTS}: masked weights must be zero; {moved} of {name!r} are not. Load and save the model again."
            )


def _check_attributes(model: nn.Module) -> None:
    """The sizes that the modules state are those of their tensors."""
    before = stated(model)
    for module in model.modules():
        fix_attributes(module)
    for setting in changed(before, stated(model)):
        raise PruningError(
            f"The loaded model must state the sizes of its tensors; {setting} is {setting.old}, its tensors have "
            f"{setting.new}. Build the model as it was before the cut."
        )
