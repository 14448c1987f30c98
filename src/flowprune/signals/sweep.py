"""Which passes over the batches a request takes, in what order, from the same starting point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.core.errors import invalid
from flowprune.objectives.batch import inputs_of
from flowprune.signals.activations import recorded
from flowprune.signals.as_found import Restore
from flowprune.signals.batches import Counted, mapped, part, read
from flowprune.signals.curvature import Curvature, gauss_newton_pass, hutchinson_pass
from flowprune.signals.fisher import Squares, squares_pass
from flowprune.signals.gradient import MOMENTS, FirstPass, Loss, finite_losses, first_pass, loss_of, over_examples
from flowprune.signals.hessian import second_pass, twice_differentiable
from flowprune.signals.mean import live
from flowprune.signals.mean_of_examples import of_means
from flowprune.signals.parts import Parts
from flowprune.signals.per_example import PerExample
from flowprune.signals.precision import cast
from flowprune.signals.signals import Mode

Fields = dict[str, Any]
"""Fields of :class:`flowprune.signals.Signals` by name."""
FIRST_SWEEP = frozenset({"gradient", "hessian_gradient", "activations", *MOMENTS})


@dataclass(frozen=True, eq=False)
class Request:
    """What is to be found out about which model.

    Attributes:
        model: Already in the mode it is to run in.
        objective: The mean loss.
        params: Its trainable parameters by name.
        needs: What is asked for; see :func:`flowprune.signals.gather`.
        mode: The mode.
        micro_batch: Most examples at a time where batches may be split; None: see
            :class:`~flowprune.signals.parts.Parts`.
        masks: True = kept, of the parameters of which masks hold entries at zero.
        curvature: Which diagonal stands for the Hessian's.
        copies: Whether derivatives are the caller's own; if not, they may be what autograd handed out.
    """

    model: nn.Module
    objective: Loss
    params: Mapping[str, nn.Parameter]
    needs: frozenset[str]
    mode: Mode
    micro_batch: int | None
    masks: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    copies: bool = True
    curvature: Curvature = field(default_factory=Curvature)

    def live(self, derivatives: dict[str, Tensor]) -> dict[str, Tensor]:
        """The derivatives with zeros where masks hold an entry at zero, whatever is there: it is no variable.

        They are elementwise in the parameters, so it is enough to do so at the end of a sweep.
        """
        return {n: live(d, self.masks[n]) if n in self.masks else d for n, d in derivatives.items()}

    def once(self) -> Parts:
        """How many examples of a batch at a time, where they do not meet in the model; see :class:`Parts`."""
        return Parts(self.micro_batch, self.model, self.objective, self.params)

    def twice(self, *, alike: bool = False) -> Callable[[Counted], int | None]:
        """The same where a Hessian is wanted; None where the batch stays whole.

        A batch may be split if its loss is a mean over examples and the examples do not meet in the model.
        """
        if self.mode == "train" or not hasattr(self.objective, "per_example"):
            return lambda _: None
        return Parts(self.micro_batch, self.model, self.objective, self.params, twice=True, alike=alike)


def sweep(request: Request, batches: Iterable[Any], rewind: Restore, *, dtype: torch.dtype | None = None) -> Fields:
    """Run the passes. Batches are read once, and kept only if there is more than one pass.

    With ``dtype`` their floating point tensors are of it. ``rewind`` puts buffers and random state back, so that every
    pass meets the same function.
    """
    needs = request.needs
    source = read(batches, request.model)
    if dtype is not None:
        source = (replace(counted, batch=cast(counted.batch, dtype)) for counted in source)
    leading = next(source)
    alike = getattr(request.objective, "one_batch", False)  # all batches give the same
    kept: Iterable[Counted] = [leading] if alike else chain([leading], source)
    passes = _passes(request)
    if "hessian_gradient" in needs or len(passes) > 1:
        kept = list(kept)
    fields: Fields = {"example_inputs": examples(leading)}
    with ExitStack() as stack:
        if "hessian_gradient" in needs:
            stack.enter_context(twice_differentiable())
        for run in passes:
            rewind()
            fields |= run(request, kept, rewind)
    return fields


def _passes(request: Request) -> list[Callable[[Request, Iterable[Counted], Restore], Fields]]:
    """One for what comes with the gradient, and one for each kind of second moments."""
    needs = request.needs
    empirical = "curvature" in needs and request.curvature.kind == "empirical"
    found = [_first] if needs & FIRST_SWEEP else []
    found += [_fisher] if "fisher" in needs or empirical else []
    return [*found, _curvature] if "curvature" in needs and not empirical else found


def _first(request: Request, batches: Iterable[Counted], rewind: Restore) -> Fields:
    """The sweep that every signal but the Fisher diagonal begins with, and the second that H g takes."""
    if request.needs & FIRST_SWEEP == frozenset({"activations"}):
        return _forward_only(request, batches)
    with recorded(request.model, active="activations" in request.needs) as moments:
        # g has its zeros before it is the direction of the second sweep.
        first = first_pass(
            request.model,
            request.objective,
            batches,
            request.params,
            needs=request.needs,
            masks=request.masks,
            copies=request.copies,
        )
    fields: Fields = {"gradient": first.gradient, **first.moments}
    fields |= {"activations": moments(), "loss": first.loss, "samples": sum(first.sizes)}
    if "hessian_gradient" in request.needs:
        rewind()
        fields["hessian_gradient"] = _second(request, batches, first)
    return fields


def _second(request: Request, batches: Iterable[Counted], first: FirstPass) -> dict[str, Tensor]:
    model, objective, params = request.model, request.objective, request.params
    forward_mode = request.mode == "eval"  # batch statistics are updated in place, which functorch refuses
    product = second_pass(
        model, objective, list(batches), params, first, at_once=request.twice(), forward_mode=forward_mode
    )
    return request.live(product)


@torch.no_grad()
def _forward_only(request: Request, batches: Iterable[Counted]) -> Fields:
    losses: list[Tensor] = []
    sizes: list[int] = []
    with recorded(request.model) as moments:
        for counted in batches:
            losses.append(loss_of(request.objective, request.model, counted.batch))
            sizes.append(counted.size)
    return {"activations": moments(), "loss": over_examples(finite_losses(losses), sizes), "samples": sum(sizes)}


def _fisher(request: Request, batches: Iterable[Counted], rewind: Restore) -> Fields:
    """The diagonal of the empirical Fisher matrix, which is a curvature as well."""
    per_example = require_per_example(request)
    if "curvature" in request.needs:
        batches = of_means(request.objective, request.model, batches)
    at_once = request.once()
    found = squares_pass(request.model, per_example, batches, request.params, most=lambda _, counted: at_once(counted))
    fields = _told(found)
    fisher = request.live(found.mean)
    if "fisher" in request.needs:
        fields["fisher"] = fisher
    if "curvature" in request.needs and request.curvature.kind == "empirical":
        fields |= {"curvature": fisher, "curvature_kind": "empirical"}
    return fields


def _curvature(request: Request, batches: Iterable[Counted], rewind: Restore) -> Fields:
    """A diagonal that stands for the Hessian's."""
    asked = request.curvature
    batches = of_means(request.objective, request.model, batches)
    if asked.kind == "hutchinson":
        found = hutchinson_pass(
            request.model,
            request.objective,
            batches,
            request.params,
            asked,
            at_once=request.twice(alike=True),
            masks=request.masks,
        )
    else:
        require_per_example(request)
        found = gauss_newton_pass(
            request.model,
            request.objective,
            batches,
            request.params,
            asked,
            micro_batch=request.micro_batch,
        )
    return {"curvature": request.live(found.mean), "curvature_kind": asked.kind, **_told(found)}


def _told(found: Squares) -> Fields:
    return {"loss": over_examples(found.losses, found.sizes), "samples": sum(found.sizes)}


def require_per_example(request: Request) -> PerExample:
    """The objective's loss of each example.

    Raises:
        ValueError: it has none.
    """
    per_example: PerExample | None = getattr(request.objective, "per_example", None)
    if per_example is None:
        need = "fisher" if "fisher" in request.needs else f"curvature', curvature='{request.curvature.kind}"
        rule = f"one that has per_example when needs has '{need}'"
        todo = "Use flowprune.objectives.Objective(name, per_example), with (forward, batch) -> Tensor[n]."
        raise invalid("gather(objective=)", rule, request.objective, todo)
    return per_example


def examples(counted: Counted) -> Any:
    """At most two examples of a batch's inputs, or ``None`` where they are not told apart from targets.

    They are copies: views would keep the whole batch in memory for as long as the signals live.

    Example:
        >>> examples(Counted(0, (torch.zeros(5, 3), torch.zeros(5)), 5)).shape
        torch.Size([2, 3])
    """
    two = part(counted, 0, 2)
    if isinstance(two, tuple) and len(two) != 2:
        return None
    inputs = inputs_of(two) if isinstance(two, (dict, tuple)) else two
    return mapped(inputs, lambda tensor: tensor.detach().clone())
