"""Every operation of PyTorch, by its rule: a mode under which a model runs on what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Final

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from flowprune.signals.presence.call import Call, Rule
from flowprune.signals.presence.elementwise import ELEMENTWISE
from flowprune.signals.presence.layers import LAYERS
from flowprune.signals.presence.present import flows, present
from flowprune.signals.presence.recurrent import RECURRENT

RULES: Final[Mapping[str, Rule]] = {**ELEMENTWISE, **LAYERS, **RECURRENT}
CHECKS: Final = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


class Passing(TorchFunctionMode):
    """Within it, operations take zeros and ones and give zeros and ones: one where a path arrives.

    An operation without a rule runs as it is, and what it gives is read as zero or not zero: right for views, sums,
    means, indexing and whatever else is monotone and zero at zero. A function of PyTorch that is written in Python is
    run line by line. What comes from neither an input nor a weight, such as positions and masks, is left alone.

    Example:
        >>> import torch
        >>> x = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> with Passing():
        ...     print((torch.tanh(x) * -3.0).tolist(), torch.sigmoid(x).tolist())
        [0.0, 1.0] [1.0, 1.0]
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The result by rule, of zeros and ones."""
        named = dict(kwargs or {})
        leaves = tree_leaves((args, named))
        if not any(flows(item) for item in leaves):
            return func(*args, **named)
        written = getattr(func, "__name__", "")
        call = Call(written.strip("_"), func, tuple(args), named)
        rule = RULES.get(call.name)
        if rule is None:
            return self._as_it_is(call, leaves)
        if written.endswith("_") and not written.endswith("__") and flows(call.input):
            own = call.input.clone()
            return call.input.copy_(_settled(rule(Call(call.name, func, (own, *args[1:]), named)), call.name, leaves))
        return _settled(rule(call), call.name, leaves)

    def _as_it_is(self, call: Call, leaves: list[Any]) -> Any:
        func = call.func
        if isinstance(func, FunctionType) and any(name in CHECKS for name in func.__code__.co_names):
            inner = FunctionType(
                func.__code__,
                {**func.__globals__, **dict.fromkeys(CHECKS, _never)},
                func.__name__,
                func.__defaults__,
                func.__closure__,
            )
            inner.__kwdefaults__ = func.__kwdefaults__
            with self:
                return inner(*call.args, **call.kwargs)
        return _settled(func(*call.args, **call.kwargs), call.name, leaves)


def _never(*_: Any) -> bool:
    return False


def _settled(result: Any, name: str, given: list[Any]) -> Any:
    """Zeros and ones in place of what an operation computed anew; views, and what it was given, are as they are."""
    old = {id(item) for item in given}

    def settle(item: Any) -> Any:
        fresh = isinstance(item, Tensor) and flows(item) and id(item) not in old and not item._is_view()
        return present(item, name) if fresh else item

    return tree_map(settle, result)
