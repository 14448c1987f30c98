"""The numbers that modules keep beside their tensors, after the tensors were cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from flowprune.core.errors import PruningError
from flowprune.core.units import Layout


def fix_attributes(module: nn.Module) -> None:
    """Set the sizes that a module states to those of its tensors; a type that states none is left alone."""
    for kind, fix in FIXES:
        if isinstance(module, kind):
            fix(module)
            return


def _transposed(module: Any) -> None:
    if module.groups > 1 and module.groups == module.in_channels:
        module.groups = module.weight.shape[0]
    module.in_channels, module.out_channels = module.weight.shape[0], module.weight.shape[1] * module.groups


def _convolution(module: Any) -> None:
    if module.groups > 1 and module.groups == module.in_channels:
        per_channel = module.out_channels // module.in_channels
        module.groups = module.weight.shape[0] // per_channel
    module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups


def _linear(module: Any) -> None:
    module.out_features, module.in_features = module.weight.shape


def _norm(module: Any) -> None:
    vector = module.weight if module.weight is not None else module.running_mean
    module.num_features = vector.shape[0]


def _group_norm(module: Any) -> None:
    width = module.num_channels // module.num_groups
    module.num_channels = module.weight.shape[0]
    module.num_groups = module.num_channels // width


def _embedding(module: Any) -> None:
    module.num_embeddings, module.embedding_dim = module.weight.shape


def _prelu(module: Any) -> None:
    module.num_parameters = module.weight.shape[0]


FIXES: tuple[tuple[type[nn.Module], Callable[[Any], None]], ...] = (
    (_ConvTransposeNd, _transposed),
    (_ConvNd, _convolution),
    (nn.Linear, _linear),
    (_NormBase, _norm),
    (nn.GroupNorm, _group_norm),
    (nn.Embedding, _embedding),
    (nn.PReLU, _prelu),
)
"""The first row whose type fits."""


def new_sizes(model: nn.Module, layout: Layout, removed: dict[tuple[str, int], Tensor]) -> list[tuple[Any, str, int]]:
    """What the attributes that count channels will be: an object, its attribute, and the number.

    A configuration that several layers share follows where all of them would have the same number in it, and stays as
    it is where they differ. The sizes are taken out of ``removed``, of which tensors are left.

    Args:
        model: Is not changed.
        layout: Of it; members of the role ``"size"`` are meant.
        removed: For each axis of each tensor, and each size, the positions that go.

    Raises:
        PruningError: the model has no such attribute, or it counts no more than are to go.
    """
    names = {member.name for group in layout.values() for member in group.members if member.role == "size"}
    found: dict[tuple[int, str], tuple[Any, str, set[int]]] = {}
    for name in names:
        gone = removed.pop((name, 0), ())
        path, _, attribute = name.rpartition(".")
        owner = _owner(model, path)
        size: Any = getattr(owner, attribute, None)
        if isinstance(size, int) and 0 < size == len(gone):
            raise PruningError(
                f"cut_(masks=) must keep at least one of the channels that {name!r} counts; the masks cut all {size}. "
                "Keep one of them, or lower the sparsity."
            )
        if not isinstance(size, int) or size < len(gone):
            raise PruningError(
                f"cut_(layout=) must be the layout of this model; it counts {name!r}, which is {size} here. "
                "Trace the model again."
            )
        found.setdefault((id(owner), attribute), (owner, attribute, set()))[2].add(size - len(gone))
    return [(owner, attribute, sizes.pop()) for owner, attribute, sizes in found.values() if len(sizes) == 1]


def _owner(model: nn.Module, path: str) -> Any:
    """What is found at a path of attributes; None where there is none."""
    owner: Any = model
    for name in path.split(".") if path else ():
        owner = getattr(owner, name, None)
    return owner
