"""Which tensors a model computes with, wherever it has them from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from flowprune.core.errors import PruningError
from flowprune.structure.example import Example
from flowprune.structure.swapping import out_of_reach
from flowprune.structure.twin import copied
from flowprune.structure.verify import run_once

HOLD = "Let its forward read it from the module (self.weight) rather than keep the tensor elsewhere."


class Reading(TorchFunctionMode):
    """Notes which of some tensors are given to any function of PyTorch."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        self.found: dict[str, None] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for item in tree_leaves((args, kwargs or {})):
            if isinstance(item, Tensor) and id(item) in self.names:
                self.found[self.names[id(item)]] = None
        return func(*args, **(kwargs or {}))


def require_alone(small: nn.Module, model: nn.Module, example: Example) -> None:
    """Raise where a copy of a model still computes with parameters of the model: training it would train both.

    Args:
        small: Is not changed; its parameters are all its own.
        model: The original.
        example: What both are called with; one pass in evaluation mode.

    Raises:
        PruningError: naming the parameter.
    """
    names = {id(param): name for name, param in model.named_parameters()}
    device = next((param.device for param in small.parameters()), None)
    if device is not None:  # a model that was traced elsewhere
        example = example.map(lambda x: x.to(device))
    same = {id(param): param for param in (*small.parameters(), *model.parameters())}
    twin = copied(small, "remove", same).eval()
    with Reading(names) as reading:
        for few in (example.first(2), example):  # of a fixed batch all
            with suppress(Exception):
                run_once(twin, few)
                break
    if reading.found:
        raise PruningError(
            f"remove(model=) must be a model whose copy computes with its own parameters; the smaller copy still reads "
            f"{next(iter(reading.found))!r} of the model itself, which a function or hook of it holds. {HOLD}"
        )


def require_reachable(model: nn.Module, names: Mapping[int, str]) -> None:
    """Raise where functions of a model hold parameters that a cut replaces.

    Raises:
        PruningError: naming the parameter and the module.
    """
    for path, name in out_of_reach(model, names):
        raise PruningError(
            f"cut_(model=) must be a model whose parameters can be replaced; a function or hook of "
            f"{path or 'the model'!r} holds {name!r} and would go on with the old one. {HOLD}"
        )
