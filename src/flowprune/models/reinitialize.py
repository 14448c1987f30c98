"""Other initial weights for a model that stays what it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from flowprune.core.arguments import call, require_model
from flowprune.core.errors import invalid
from flowprune.core.held import factor
from flowprune.models.initial import initial_weights

Build = Callable[..., nn.Module]
"""``build(seed=...)`` -> a model of the same names and shapes."""


@torch.no_grad()
def reinitialize_(model: nn.Module, *, seed: int, build: Build | None = None) -> nn.Module:
    """Draw the weights of a model anew, in place: same object, parameters, masks and modes. Returns the model.

    Norms start over as well, with their running statistics. What ``fp.apply`` holds at zero is zero afterwards. The
    global random state is left as it was, and a seed means the same weights on every device. Gradients stay; an
    optimizer's state belongs to the old weights, so make a new one.

    By default each module draws by its own ``reset_parameters``, as PyTorch's layers do when they are built; other
    buffers stay. A model whose constructor draws otherwise (Kaiming normal, zeroed last norms) or that owns parameters
    itself (position embeddings, attention) needs ``build``, which is the surest way where the model was not cut.
    Models of ``fp.MODELS`` draw as PyTorch does: both ways give the weights of ``fp.models.build(name, seed=seed)``.

    Args:
        model: Is changed; nothing is, where an error is raised.
        seed: Of the weights.
        build: ``build(seed=seed)`` gives a model of the same names and shapes, of which parameters and buffers are
            copied: ``partial(fp.models.build, "vgg13")``. One that makes nothing of it, as ``lambda seed: Net()``,
            draws from it all the same.

    Raises:
        ValueError: no module; a module that owns parameters has no ``reset_parameters`` and there is no ``build``; or
            the model built has other names or shapes.

    Source: as an ablation of masks, J. Frankle et al. (2021), arXiv 2009.08576; as the control of lottery tickets,
    J. Frankle & M. Carbin (2019), arXiv 1803.03635.

    Example:
        >>> from flowprune.models import mlp
        >>> model, weight = mlp(4, (3,), 2, seed=0), mlp(4, (3,), 2, seed=5).layers[1].weight
        >>> held = model.layers[1].weight
        >>> reinitialize_(model, seed=5) is model, model.layers[1].weight is held, bool((held == weight).all())
        (True, True, True)
    """
    require_model("reinitialize_", model)
    with initial_weights(seed):
        fresh = _reset(model) if build is None else call("reinitialize_(build=)", build, {"seed": seed})
    if not isinstance(fresh, nn.Module):
        raise invalid("reinitialize_(build=)", "a function that gives an nn.Module", type(fresh).__name__)
    source, target = _tensors(fresh), _tensors(model)
    _check_alike(source, target)
    for name, tensor in target.items():
        tensor.copy_(source[name])
        mask = factor(tensor)
        if mask is not None:
            tensor.masked_fill_((mask == 0).to(tensor.device), 0)
    return model


def _reset(model: nn.Module) -> nn.Module:
    """A copy on the CPU whose modules have drawn anew, inner ones first, as constructors do."""
    bare = [
        f"{name or 'the model'} ({type(module).__name__})"
        for name, module in model.named_modules()
        if any(param is not None for param in module._parameters.values()) and not _resets(module)
    ]
    if bare:
        rule = f"given where modules have parameters and no reset_parameters: {', '.join(bare)}"
        todo = "Pass build=lambda seed: ..., which builds the model anew."
        raise invalid("reinitialize_(build=)", rule, None, todo)
    twin = copy.deepcopy(model).cpu()
    for module in _inner_first(twin):
        if _resets(module):
            module.reset_parameters()  # pyright: ignore[reportCallIssue]
    return twin


def _resets(module: nn.Module) -> bool:
    return callable(getattr(module, "reset_parameters", None))


def _inner_first(module: nn.Module) -> list[nn.Module]:
    """Every module once, after those it is made of, in the order in which they were registered."""
    seen: dict[nn.Module, None] = {}

    def visit(part: nn.Module) -> None:
        for child in part.children():
            if child not in seen:
                visit(child)
        seen.setdefault(part)

    visit(module)
    return list(seen)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; those that are shared under each of their names."""
    found: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    return found | dict(model.named_buffers(remove_duplicate=False))


def _check_alike(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    odd = sorted(source.keys() ^ target.keys())
    if odd:
        raise invalid("reinitialize_(build=)", "a builder of a model with the same names", f"another {odd[0]!r}")
    for name, tensor in target.items():
        if tensor.shape != source[name].shape:
            todo = "Leave build= out for a model that was cut: its layers draw at their own size."
            got = f"{name!r} of shape {tuple(source[name].shape)}"
            raise invalid("reinitialize_(build=)", f"a builder of shape {tuple(tensor.shape)}", got, todo)
