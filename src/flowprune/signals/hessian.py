"""The second pass: the Hessian of the mean loss times a direction, exactly.

Two ways of differentiating twice. *Reverse over forward* (the gradient of the directional derivative) is the
faster; *reverse over reverse* needs no forward-mode rules, works where functorch does not, and takes less
memory. Finite differences are not offered: in networks with ReLU a step crosses kinks, and the difference
quotient does not approach the product at any step size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from flowprune.core.call_at import call_at
from flowprune.core.errors import PruningError
from flowprune.core.unfused import unfused
from flowprune.signals.as_found import random_state
from flowprune.signals.batches import Counted, part, split
from flowprune.signals.gradient import FirstPass, Loss, gradient_of, loss_of
from flowprune.signals.mean import Mean

Named = Mapping[str, Tensor]
Product = Callable[[Any], tuple[list[Tensor], Tensor]]
"""A batch to (H_b v, loss_b)."""


def reverse_over_forward(model: nn.Module, objective: Loss, params: Mapping[str, nn.Parameter], v: Named) -> Product:
    r"""H_b v = d/d theta of (d/d eps L_b(theta + eps v)): one forward with tangents, one backward.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> params, v = dict(model.named_parameters()), {"weight": torch.tensor([[3.0]])}
        >>> product = reverse_over_forward(model, lambda forward, x: forward(x).square().mean(), params, v)
        >>> product(torch.tensor([[2.0]]))[0]  # L = 4 w^2, so H v = 8 * 3
        [tensor([[24.]])]
    """
    point = {name: parameter.detach() for name, parameter in params.items()}
    direction = dict(v)

    def product(batch: Any) -> tuple[list[Tensor], Tensor]:
        def loss(at: dict[str, Tensor]) -> Tensor:
            return loss_of(objective, lambda *args, **kwargs: call_at(model, at, args, kwargs), batch)

        def slope(at: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            value, tangent, *_ = jvp(loss, (at,), (direction,))
            return tangent, value

        result, value = grad(slope, has_aux=True)(point)
        return [result[name] for name in point], value

    return product


def reverse_over_reverse(model: nn.Module, objective: Loss, params: Mapping[str, nn.Parameter], v: Named) -> Product:
    r"""H_b v = d/d theta of <g_b(theta), v>: a gradient that is differentiated again.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> params, v = dict(model.named_parameters()), {"weight": torch.tensor([[3.0]])}
        >>> product = reverse_over_reverse(model, lambda forward, x: forward(x).square().mean(), params, v)
        >>> product(torch.tensor([[2.0]]))[0]
        [tensor([[24.]])]
    """
    parameters = list(params.values())

    def product(batch: Any) -> tuple[list[Tensor], Tensor]:
        loss = loss_of(objective, model, batch)
        gradient = gradient_of(loss, parameters, create_graph=True)
        _refuse_dead_ends(gradient)
        live = [(g, v[name]) for name, g in zip(params, gradient, strict=True) if g.requires_grad]
        if not live:  # the loss is linear in every parameter
            return [torch.zeros_like(parameter) for parameter in parameters], loss.detach()
        outputs, directions = zip(*live, strict=True)
        result = torch.autograd.grad(outputs, parameters, directions, materialize_grads=True)
        return list(result), loss.detach()

    return product


def _refuse_dead_ends(gradient: Sequence[Tensor]) -> None:
    """Raise where the gradient's graph holds an operation marked as differentiable once.

    Autograd puts a node there that raises when it is run, but does not run it when asked for the gradient of
    certain tensors: it is on no path to them. The product would silently lack that operation's part.
    """
    seen: set[Any] = set()
    nodes: list[Any] = [g.grad_fn for g in gradient]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        if node.name().endswith("Error"):
            raise RuntimeError("an operation is marked once_differentiable, so its gradient has no derivative")
        seen.add(node)
        nodes.extend(following for following, _ in node.next_functions)


@contextmanager
def twice_differentiable() -> Generator[None]:
    """Attention by its mathematics, and compiled models uncompiled.

    Fused attention kernels have neither forward mode nor a second derivative; compiled graphs have no second.
    """
    with ExitStack() as stack:
        stack.enter_context(unfused())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and importing it takes a second
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def second_pass(
    model: nn.Module,
    objective: Loss,
    batches: Sequence[Counted],
    params: Mapping[str, nn.Parameter],
    first: FirstPass,
    *,
    at_once: Callable[[Counted], int | None],
    forward_mode: bool,
) -> dict[str, Tensor]:
    r"""H g of the mean loss over all examples, over the batches that gave g.

    Batches are split into parts of ``at_once(batch)`` examples; ``None`` keeps one whole. ``forward_mode`` allows
    reverse over forward.

    Raises:
        PruningError: a batch's loss is not what it was in the first pass, or the model cannot be
            differentiated twice.
    """
    product = reverse_over_reverse(model, objective, params, first.gradient)
    mean = Mean()
    with twice_differentiable():
        if forward_mode:
            restore = random_state(model)
            faster = reverse_over_forward(model, objective, params, first.gradient)
            product = choose(faster, product, part(batches[0], 0, 2))
            restore()
        for counted in batches:
            again: list[tuple[Tensor, int]] = []
            for some in split(counted, at_once(counted) or counted.size):
                with _named():
                    values, loss = product(some.batch)
                mean.add(values, some.size)
                again.append((loss, some.size))
            _compare(model, counted, first.losses[counted.index], again)
    return dict(zip(params, mean.result(), strict=True))


def choose(faster: Product, safer: Product, batch: Any) -> Product:
    """The faster of two ways if it agrees with the safer on a small batch.

    It is tried and not trusted, because forward mode can be silently wrong: in torch 2.11 to 2.13 differentiating the
    directional derivative of ``layer_norm`` or ``instance_norm`` treats their statistics as constants.
    """
    with _named():
        expected, _ = safer(batch)
    # Any error: the safer way has just run this model, so it comes from the faster one.
    try:
        found, _ = faster(batch)
    except Exception:
        return safer
    scale = max(float(value.norm()) for value in expected)
    tolerance = 3 * torch.finfo(expected[0].dtype).eps ** 0.5
    near = ((a - b).norm() <= tolerance * (b.norm() + 1e-3 * scale) for a, b in zip(found, expected, strict=True))
    return faster if all(bool(each) for each in near) else safer


@contextmanager
def _named() -> Generator[None]:
    """Say what was tried, where torch says which operation has no second derivative."""
    try:
        yield
    except PruningError:
        raise
    except RuntimeError as error:
        raise PruningError(
            f"gather(needs=('hessian_gradient',)) could not differentiate the model twice: {error}. "
            "Replace the operation that has no second derivative, or use a first-order measure."
        ) from error


def _compare(model: nn.Module, counted: Counted, before: float, again: list[tuple[Tensor, int]]) -> None:
    """Refuse where the second pass met another function than the first."""
    now = sum(float(loss) * size for loss, size in again) / counted.size
    dtype = again[0][0].dtype
    # The two passes take other kernels, which agree to rounding: about sqrt(eps), 3e-4 in float32.
    if abs(now - before) <= torch.finfo(dtype).eps ** 0.5 * max(abs(before), abs(now), 1e-3):
        return
    raise PruningError(
        f"gather() ran the model twice on batch {counted.index} and its loss differed: {before:.9g}, then {now:.9g}. "
        f"g and H·g would belong to different functions. {suspects(model)}"
    )


def suspects(model: nn.Module) -> str:
    """Which modules may have made a forward depend on more than its inputs.

    Example:
        >>> suspects(nn.Sequential(nn.Dropout()).train())
        'In train mode: 0 (Dropout). Use mode="eval".'
    """
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.modules.instancenorm._InstanceNorm)
    found = [f"{n} ({type(m).__name__})" for n, m in model.named_modules() if m.training and isinstance(m, kinds)]
    if found:
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        return f'In train mode: {", ".join(found[:4])}{more}. Use mode="eval".'
    return "The forward is random or keeps state outside its buffers: draw its noise from the global generator."
