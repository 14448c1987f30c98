"""Arguments that came from outside: by name from a spec or a command line, or a model from a user's program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import TYPE_CHECKING, TypeVar, cast

from flowprune.core.errors import invalid

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

T = TypeVar("T")


def call(where: str, function: Callable[..., T], given: Mapping[str, object]) -> T:
    """``function(**given)``, with an error that lists the accepted names where one is wrong or missing.

    Raises:
        ValueError: a name that the function does not take, or a missing one without a default.

    Example:
        >>> call("power", pow, {"base": 2, "exp": 3})
        8
    """
    parameters = signature(function).parameters
    named = {name: p for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    extra = [] if takes_any else sorted(set(given) - set(named))
    missing = [name for name, p in named.items() if p.default is Parameter.empty and name not in given]
    if extra or missing:
        problem = f"with {', '.join(extra)}" if extra else f"without {', '.join(missing)}"
        raise invalid(where, f"given its own arguments ({', '.join(parameters)})", problem)
    return function(**given)


def require_size(where: str, size: object) -> None:
    """Raise where a size is not a whole number from 1.

    Example:
        >>> require_size("Blocks(rows=)", 0)
        Traceback (most recent call last):
        ValueError: Blocks(rows=) must be a whole number >= 1; got 0.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise invalid(where, "a whole number >= 1", size)


def require_model(where: str, model: object) -> nn.Module:
    """The model, if it is a module whose parameters exist.

    Raises:
        ValueError: it is no ``nn.Module``, or its lazy modules have not run yet, so their parameters have no shape.

    Example:
        >>> from torch import nn
        >>> require_model("gather", nn.LazyLinear(2))
        Traceback (most recent call last):
        ValueError: gather(model=) must be initialised; got 'lazy weight, bias'. Run it once on example inputs first.
    """
    from torch import nn
    from torch.nn.parameter import is_lazy

    if not isinstance(model, nn.Module):
        got = model.__name__ if isinstance(model, type) else type(model).__name__
        held = isinstance(getattr(model, "model", None), nn.Module)  # what fp.prune returned, or a pruner
        todo = "Pass its .model." if held else "Pass the model itself, not its class or its parameters."
        raise invalid(f"{where}(model=)", "an nn.Module", got, todo)
    lazy = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if is_lazy(tensor)]
    if lazy:
        more = f" and {len(lazy) - 4} more" if len(lazy) > 4 else ""
        got = f"lazy {', '.join(lazy[:4])}{more}"
        raise invalid(f"{where}(model=)", "initialised", got, "Run it once on example inputs first.")
    return model


def require_masks(where: str, masks: object) -> None:
    """Raise where masks are not tensors by name.

    Raises:
        ValueError: they are no mapping, or one of them is no tensor.

    Example:
        >>> require_masks("a", {"w": [True, False]})
        Traceback (most recent call last):
        ValueError: a(masks=): mask of 'w' must be a boolean tensor; got 'list'. Pass torch.tensor(...) of it.
    """
    from torch import Tensor

    if not isinstance(masks, Mapping):
        held = isinstance(getattr(masks, "masks", None), Mapping)  # what fp.prune returned, or a pruner
        todo = "Pass its .masks." if held else "Pass what fp.select gave, or a dictionary."
        raise invalid(f"{where}(masks=)", "a mapping of names to boolean tensors", type(masks).__name__, todo)
    for name, mask in cast("Mapping[object, object]", masks).items():
        if not isinstance(mask, Tensor):
            todo = "Pass torch.tensor(...) of it."
            raise invalid(f"{where}(masks=): mask of {name!r}", "a boolean tensor", type(mask).__name__, todo)


def require_optimizer(where: str, optimizer: object) -> Optimizer:
    """The optimizer, if it is one.

    Raises:
        ValueError: it is something else, such as its name, its class or its state.

    Example:
        >>> require_optimizer("carry", "adam")
        Traceback (most recent call last):
        ValueError: carry(optimizer=) must be a torch.optim.Optimizer; got 'adam'. Build it on the model's parameters.
    """
    if not isinstance(getattr(optimizer, "param_groups", None), list):  # some that wrap one are no subclass
        got = optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", type(optimizer).__name__)
        todo = "Build it on the model's parameters."
        raise invalid(f"{where}(optimizer=)", "a torch.optim.Optimizer", got, todo)
    return cast("Optimizer", optimizer)
