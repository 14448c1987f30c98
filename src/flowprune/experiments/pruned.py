"""A model from its files, in another process: of a plan, of masks beside weights, or of weights alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.core.fingerprint import fingerprint
from flowprune.experiments.state import shrink
from flowprune.masks import Masks, apply
from flowprune.plan import load, read_plan, replay
from flowprune.plan.folder import PLAN, WEIGHTS

MASKS = "masks.safetensors"


def load_pruned(model: nn.Module, path: Path | str, *, where: str = "load_pruned(path=)") -> nn.Module:
    """The model that ``flowprune prune --out`` or a run left behind, or weights of any other origin.

    What :func:`flowprune.save` wrote is read by :func:`flowprune.load`. Beside that, this reads what earlier
    versions wrote, ``masks.safetensors`` instead of a plan; weights of the pruned model in another file beside either;
    and, where there is neither, weights of the dense model, also from inside of a wrapper.

    Args:
        model: The dense model, of any weights; it stays as it is.
        path: A folder with ``model.safetensors``, or a file of weights; a plan or masks are looked for beside it.
        where: What an error names.

    Returns:
        A copy: smaller where channels were removed, with masks held at zero where weights were.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or of another model.
        PruningError: the plan or the masks are damaged.

    Example:
        ``small = fp.experiments.load_pruned(fp.models.build("digits_convnet"), "pruned")``
    """
    from safetensors.torch import load_file

    path = Path(path)
    file = path / WEIGHTS if path.is_dir() else path
    planned = file.with_name(PLAN).exists()
    if planned and file.name == WEIGHTS:
        return load(model, file.parent)
    try:
        tensors = plain_names(load_file(file), own=model.state_dict())
    except SafetensorError as error:
        raise invalid(where, "a safetensors file", str(file), f"It cannot be read: {error}.") from None
    made, beside = deepcopy(model), file.with_name(MASKS)
    if planned:
        plan = read_plan(file.parent)
        if differences(made, tensors) or plan.shapes == plan.dense.tensors:  # else these are weights of the dense model
            made = replay(plan, model)
    elif beside.exists() and beside != file:
        masks = Masks.load(beside)
        if masks.fingerprint not in (None, fingerprint(dict(made.named_parameters()))):
            todo = f"{beside.name} beside it was made for other names or shapes of parameters."
            raise invalid(where, "of this model", str(file), todo)
        if not masks.channelwise:
            apply(made, masks)
        elif differences(made, tensors):  # else these are weights of the dense model, kept beside the masks
            shrink(made, masks)
    fill(made, tensors, where=where, path=file)
    return made


WRAPPERS = ("module.", "_orig_mod.")
"""What data-parallel training and ``torch.compile`` put before the names of a model's tensors."""


def plain_names(tensors: Mapping[str, Tensor], *, own: Collection[str]) -> dict[str, Tensor]:
    """Tensors by the names that a model itself gives them, whatever it was wrapped in when they were saved.

    Args:
        tensors: By name.
        own: The model's names; where one of them is among the tensors, nothing is stripped.

    Example:
        >>> import torch
        >>> list(plain_names({"module._orig_mod.weight": torch.ones(1)}, own={"weight"}))
        ['weight']
    """
    found = dict(tensors)
    while not any(name in own for name in found):
        wrapper = next((w for w in WRAPPERS if found and all(name.startswith(w) for name in found)), None)
        if wrapper is None:
            break
        found = {name.removeprefix(wrapper): value for name, value in found.items()}
    return found


def fill(model: nn.Module, tensors: Mapping[str, Tensor], *, where: str, path: Path) -> None:
    """Put tensors into a model by name, all of them or none.

    Raises:
        ValueError: they are of another model; the first difference, and how many there are.
    """
    wrong = differences(model, tensors)
    if wrong:
        more = f", and {len(wrong) - 1} more such differences" if len(wrong) > 1 else ""
        raise invalid(where, "of this model", str(path), f"{wrong[0]}{more}.")
    model.load_state_dict(dict(tensors))


def differences(model: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Where tensors do not fit the state of a model, in words.

    Example:
        >>> import torch
        >>> differences(nn.Linear(2, 1, bias=False), {"weight": torch.zeros(1, 3)})
        ['weight is (1, 3) in the file and (1, 2) in the model']
    """
    own: dict[str, Tensor] = dict(model.state_dict())
    shapes = [
        f"{name} is {tuple(tensors[name].shape)} in the file and {tuple(value.shape)} in the model"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    missing = [f"{name} is not in the file" for name in own if name not in tensors]
    return [*shapes, *missing, *(f"{name} is not in the model" for name in tensors if name not in own)]
