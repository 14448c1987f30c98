"""Every operation of PyTorch, by its rule: a mode under which a model runs on what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from flowprune.core.errors import PruningError
from flowprune.signals.presence.call import Call, Rule, is_weight
from flowprune.signals.presence.elementwise import ELEMENTWISE, MULTIPLY, OPENED, SUMS
from flowprune.signals.presence.layers import LAYERS, PRODUCTS
from flowprune.signals.presence.present import flows, is_open, present, require_positive, set_open
from flowprune.signals.presence.recurrent import RECURRENT

RULES: Final[Mapping[str, Rule]] = {**ELEMENTWISE, **LAYERS, **RECURRENT}
CHECKS: Final = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


class Passing(TorchFunctionMode):
    """Within it, operations take zeros and ones and give zeros and ones: one where a path arrives.

    An operation without a rule runs as it is, and what it gives is read as zero or not zero: right for views, sums,
    means, indexing and whatever else is monotone and zero at zero. A function of ``torch.nn.functional`` that is
    written in Python, such as attention of several heads, is run line by line. What comes from neither an input nor a
    weight, such as positions and masks, is left alone.

    Example:
        >>> import torch
        >>> x = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> with Passing():
        ...     print((torch.tanh(x) * -3.0).tolist(), (torch.sigmoid(x) * x).tolist())
        [0.0, 1.0] [0.0, 1.0]
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
            made = rule(Call(call.name, func, (own, *args[1:]), named))
            return _noted(call.input.copy_(_settled(made, call.name, leaves)), call.name, leaves)
        return _noted(_settled(rule(call), call.name, leaves), call.name, leaves)

    def _as_it_is(self, call: Call, leaves: list[Any]) -> Any:
        func = call.func
        if isinstance(func, FunctionType) and func.__module__ == "torch.nn.functional":
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
        result = func(*call.args, **call.kwargs)
        _require_monotone(result, call.name, leaves)
        return _noted(_settled(result, call.name, leaves), call.name, leaves)


def _never(*_: Any) -> bool:
    return False


def _fresh(item: Any, old: set[int]) -> bool:
    """Whether it is a tensor that paths go through, neither given nor a view."""
    return flows(item) and id(item) not in old and not item._is_view()


def _require_monotone(result: Any, name: str, given: list[Any]) -> None:
    """Raise where an operation without a rule is complex, or does not grow with what it is given.

    Its derivative is asked for at weights that differ, so that the differences of neighbours do not cancel.
    """
    old, sources = {id(item) for item in given}, [item for item in given if flows(item)]
    for item in tree_leaves(result):
        if isinstance(item, Tensor) and item.is_complex():
            raise PruningError(
                f"effective_weights(model=) must be of operations on real numbers; {name!r} gives complex ones. "
                "Ask of the part of the model without it."
            )
        if _fresh(item, old):
            weights = 1.0 + torch.arange(item.numel(), device=item.device).remainder(7).view(item.shape)
            spread = weights.to(item.dtype)
            for grad in torch.autograd.grad(item, sources, spread, retain_graph=True, materialize_grads=True):
                require_positive(grad, repr(name))


def _settled(result: Any, name: str, given: list[Any]) -> Any:
    """Zeros and ones in place of what an operation computed anew; views, and what it was given, are as they are."""
    old = {id(item) for item in given}

    def settle(item: Any) -> Any:
        return present(item, name) if _fresh(item, old) else item

    return tree_map(settle, result)


def _noted(result: Any, name: str, given: list[Any]) -> Any:
    """The result, noted as open where it is not zero though no path arrives."""
    if name in OPENED or _stays_open(name, given):
        for item in tree_leaves(result):
            if flows(item):
                set_open(item)
    return result


def _stays_open(name: str, given: list[Any]) -> bool:
    sources = [item for item in given if flows(item)]
    if name in PRODUCTS or name in MULTIPLY:
        return all(is_open(item) or (name in MULTIPLY and is_weight(item)) for item in sources)
    if name in LAYERS or name in RECURRENT:
        return False
    return any(is_open(item) for item in sources) or (name in SUMS and any(_counts(item) for item in given))


def _counts(item: object) -> bool:
    """A number that is added; one below a hundredth keeps a division from one by zero."""
    return isinstance(item, (int, float)) and not isinstance(item, bool) and abs(item) > 0.01
