"""Per-example gradients from one backward pass, by watching layers' inputs and outputs' gradients.

The parameters are held constant, so the backward pass forms input gradients only; each layer's contribution is
reduced as soon as its output's gradient is there, and nothing of the size (examples x parameters) exists.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from flowprune.core.call_at import call_at
from flowprune.core.errors import PruningError, invalid
from flowprune.signals.per_example.contribution import Consume, Contribution, at_least_single
from flowprune.signals.per_example.layers import Rule, rule_for

PerExample = Callable[[Callable[..., Any], Any], Tensor]
Pulled = Callable[[Tensor, Any], Iterator[Tensor]]
"""``(outputs, batch)`` to vectors like the outputs, each of which is pulled back to the parameters: Jᵀv."""
Engine = Callable[[Any, Consume], Tensor]
"""``(batch, consume) -> losses (n,)``; ``consume`` is given every parameter's contribution that is not zero."""


class UnwatchableError(PruningError):
    """This model's per-example gradients cannot be had from its layers' inputs and outputs alone."""


class _Tap(torch.autograd.Function):
    """The identity, in place, that begins a graph at a tensor without one and hands its gradient over.

    In place, because an in-place activation may follow, which a view or a leaf would not allow.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, anchor: Tensor, take: Callable[[Tensor], None]) -> Tensor:
        ctx.take = take
        ctx.mark_dirty(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        ctx.take(gradients[0])
        return None, None, None


def watched(model: nn.Module, params: Mapping[str, nn.Parameter]) -> dict[str, tuple[nn.Module, Rule]]:
    """The modules that own the parameters, by name, with their rules.

    Raises:
        UnwatchableError: a module has no rule, or two modules share a parameter.
    """
    owners = Counter(id(parameter) for module in model.modules() for parameter in module._parameters.values())
    found: dict[str, tuple[nn.Module, Rule]] = {}
    for name, parameter in params.items():
        path = name.rpartition(".")[0]
        module = model.get_submodule(path)
        rule = rule_for(module)
        if rule is None or owners[id(parameter)] != 1:
            raise UnwatchableError(f"{name} of {type(module).__name__}")
        found[path] = (module, rule)
    return found


def hooked(
    model: nn.Module,
    per_example: PerExample,
    params: Mapping[str, nn.Parameter],
    pulled: Pulled | None = None,
) -> Engine:
    """An engine for models made of known layers, each called once in a forward.

    By default what is pulled back is the gradient of each example's loss.

    Raises:
        UnwatchableError: here or from the engine, for other models.
    """
    layers = watched(model, params)
    constant = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def run(batch: Any, consume: Consume) -> Tensor:
        anchor = torch.zeros((), requires_grad=True)
        calls = Counter[str]()
        joined = _Joined(_wanted(params, consume))
        called = Called(lambda *args, **kwargs: call_at(model, constant, args, kwargs))
        with _watching(layers, anchor, calls, joined):
            losses = per_example(called, batch)
            if any(count > 1 for count in calls.values()):
                raise UnwatchableError("a module is called more than once")
        if pulled is None:
            if losses.requires_grad:
                joined.last = True
                torch.autograd.grad(losses.sum(), anchor, allow_unused=True)
            return losses.detach()
        outputs = called.outputs
        if outputs.requires_grad:
            for vector, following in pairwise(chain(pulled(outputs.detach(), batch), (None,))):
                joined.last = following is None
                torch.autograd.grad(outputs, anchor, vector, retain_graph=not joined.last, allow_unused=True)
        return losses.detach()

    return run


class Called:
    """A forward that remembers what it returned.

    Example:
        >>> called = Called(lambda x: 2 * x)
        >>> called(torch.ones(1)), called.outputs
        (tensor([2.]), tensor([2.]))
    """

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward
        self._returned: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the forward returns."""
        self._returned.append(self._forward(*args, **kwargs))
        return self._returned[-1]

    @property
    def outputs(self) -> Tensor:
        """The tensor that the loss is of.

        Raises:
            ValueError: there were more calls than one, or none, or it returned no tensor.
        """
        rule = "one that calls forward once, for an output tensor, for the Gauss-Newton matrix to be defined"
        todo = "Ask for curvature='empirical' or 'hutchinson'."
        if len(self._returned) != 1:
            raise invalid("gather(objective=)", rule, f"one that calls it {len(self._returned)} times", todo)
        outputs = getattr(self._returned[0], "logits", self._returned[0])
        if not isinstance(outputs, Tensor) or not outputs.ndim:
            raise invalid("gather(objective=)", rule, f"a model that returns {type(outputs).__name__}", todo)
        return outputs


class _Joined:
    """Keeps what a layer contributes for each vector until the last, and passes it on as one."""

    def __init__(self, consume: Consume) -> None:
        self._consume = consume
        self._kept: defaultdict[str, list[Contribution]] = defaultdict(list)
        self.last = False

    def __call__(self, name: str, contribution: Contribution) -> None:
        """Take in one."""
        if not self.last:
            self._kept[name].append(contribution)
            return
        before = self._kept.pop(name, [])
        self._consume(name, contribution.joined(before) if before else contribution)


def _wanted(params: Mapping[str, nn.Parameter], consume: Consume) -> Consume:
    """Passes on what is asked for; a frozen bias beside a trained weight is not."""

    def take(name: str, contribution: Any) -> None:
        if name in params:
            consume(name, contribution)

    return take


@contextmanager
def _watching(
    layers: Mapping[str, tuple[nn.Module, Rule]], anchor: Tensor, calls: Counter[str], consume: Consume
) -> Generator[None]:
    handles = [
        module.register_forward_hook(_watch(path, rule, anchor, calls, consume))
        for path, (module, rule) in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch(path: str, rule: Rule, anchor: Tensor, calls: Counter[str], consume: Consume) -> Callable[..., Any]:
    prefix = f"{path}." if path else ""

    def watch(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        calls[path] += 1
        if len(args) != 1 or not isinstance(args[0], Tensor) or not isinstance(output, Tensor):
            raise UnwatchableError(f"{path} is not called with one tensor")
        a = args[0].detach()
        version = a._version

        def take(b: Tensor) -> None:
            if a._version != version or len(a) != len(b):
                raise UnwatchableError(f"the input of {path} is overwritten after use")
            with torch.no_grad():
                inputs = at_least_single(a) if a.is_floating_point() else a
                for name, contribution in rule(module, inputs, at_least_single(b)).items():
                    consume(prefix + name, contribution)

        if output.requires_grad:
            output.register_hook(take)
            return None
        return cast(Tensor, _Tap.apply(output.clone() if output._is_view() else output, anchor.to(output.device), take))

    return watch
