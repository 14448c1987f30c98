"""All tensors of a model, out of it and into it, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from flowprune.core.errors import PruningError, invalid
from flowprune.structure.swapping import swap_


def tensors_of(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of the state dict, each tied one once, and the buffers that a state dict leaves out.

    Raises:
        ValueError: the state dict holds something that is no tensor.
    """
    known: set[int] = set()
    stored: dict[str, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            todo = "It would need a pickle: keep such state in buffers."
            raise invalid("save(pruned=)", "a model whose state is tensors", f"{name}: {type(value).__name__}", todo)
        if id(value) not in known:
            stored[name] = value.detach()
            known.add(id(value))
    return stored, {name: buffer.detach() for name, buffer in model.named_buffers() if id(buffer) not in known}


def alone(tensor: Tensor) -> Tensor:
    """A tensor on the CPU, contiguous, and no part of another's memory, as safetensors wants it."""
    value = tensor.cpu().contiguous()
    return value.clone() if value.untyped_storage().nbytes() != value.nbytes else value


def channels_last(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of those that lie in memory channel by channel, which rounding may depend on."""
    return [
        name
        for name, tensor in tensors.items()
        if tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
    ]


def install_(model: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Put tensors in the place of all parameters and buffers, with their own types, on the devices of those there.

    Tied parameters stay tied. Parameters are new objects; ``requires_grad`` and attributes are kept.

    Args:
        model: Changed in place, once everything has been checked.
        tensors: By name; tied ones under any of their names.
        where: What an error names.

    Raises:
        PruningError: names or shapes are not those of the model.
    """
    places = dict(_places(model))
    new: dict[int, Tensor] = {}
    for name, tensor in tensors.items():
        here = places.get(name)
        if here is None or here.shape != tensor.shape:
            got = "is not in the model" if here is None else f"is {tuple(here.shape)} in the model"
            raise PruningError(
                f"{where}: the stored weights must be of the model that the plan makes; {name} is "
                f"{tuple(tensor.shape)} in the file and {got.removeprefix('is ')}. Save the model again."
            )
        new[id(here)] = _like(tensor, here)
    missing = [name for name, here in places.items() if id(here) not in new]
    if missing:
        raise PruningError(
            f"{where}: the stored weights must be of the model that the plan makes; {missing[0]} and "
            f"{len(missing) - 1} others are not in the file. Save the model again."
        )
    swap_(model, new)


def _places(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _like(tensor: Tensor, here: Tensor) -> Tensor:
    """A tensor in the role of one that is there."""
    value = tensor if here.device.type == "meta" else tensor.to(here.device)
    if not isinstance(here, nn.Parameter):
        return value
    new = nn.Parameter(value, requires_grad=here.requires_grad)
    for key, attribute in vars(here).items():
        setattr(new, key, attribute)
    return new
