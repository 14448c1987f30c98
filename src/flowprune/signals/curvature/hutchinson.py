"""The diagonal of the Hessian in expectation: E[v * H v] over random signs v."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from flowprune.objectives.output_curvature import random_signs
from flowprune.signals.as_found import random_state
from flowprune.signals.batches import Counted, part, per_shape, split
from flowprune.signals.curvature.asked import Curvature
from flowprune.signals.curvature.memory import examples_within
from flowprune.signals.fisher import Squares
from flowprune.signals.footprint import bytes_of, graph_bytes
from flowprune.signals.gradient import Loss, finite_losses
from flowprune.signals.hessian import choose, reverse_over_forward, reverse_over_reverse, twice_differentiable
from flowprune.signals.mean import Mean

GRAPHS = 6
"""Graphs of a forward that a Hessian-vector product holds at a time, tangents and temporaries included."""


def hutchinson_pass(
    model: nn.Module,
    objective: Loss,
    batches: Iterable[Counted],
    params: Mapping[str, nn.Parameter],
    asked: Curvature,
    *,
    at_once: Callable[[Counted], int | None],
    masks: Mapping[str, Tensor],
) -> Squares:
    r"""Mean over parts of batches, and over ``samples`` probes each, of v * (H v), with H the Hessian of a part's loss.

    Unbiased for diag H of the mean loss: E[v_j v_k] = 0 for j != k. Its variance is 2 sum_{k != j} H_jk^2 for a probe
    of one part. Each part draws its own, so that more parts mean less of it. Entries that masks hold at zero are no
    variables: v is zero there.

    Batches are split into parts of at most ``at_once(batch)`` examples; None keeps a batch whole.

    Shapes: as the parameters. Units: loss per squared weight. It can be negative.
    Source: Hutchinson 1990; Bekas, Kokiopoulou & Saad 2007, An estimator for the diagonal of a matrix.

    Raises:
        ValueError: too little memory for one example.
        PruningError: the model cannot be differentiated twice.
    """
    mean = Mean()
    losses: list[Tensor] = []
    sizes: list[int] = []
    way = None
    graph = per_shape(lambda counted: graph_bytes(model, objective, counted))
    fixed = 3 * sum(map(bytes_of, params.values()))
    with twice_differentiable():
        for counted in batches:
            if way is None:
                way = _way(model, objective, params, counted)
            most = _examples(graph(counted), fixed, counted, asked, at_once(counted))
            total = torch.zeros(())
            for some in split(counted, most):
                loss = torch.zeros(())
                for _ in range(asked.samples):
                    signs = _signs(params, masks)
                    values, loss = way(signs)(some.batch)
                    mean.add([v * h for v, h in zip(signs.values(), values, strict=True)], some.size)
                total = total.to(loss) + loss.detach() * some.size
            losses.append(total / counted.size)
            sizes.append(counted.size)
    return Squares(dict(zip(params, mean.result(), strict=True)), finite_losses(losses), sizes)


def _examples(graph: int, fixed: int, counted: Counted, asked: Curvature, most: int | None) -> int:
    """How many at a time fit into the memory; all of a batch where the loss may not be split."""
    least = counted.size if most is None else 1
    return least * examples_within(asked, GRAPHS * graph * least, fixed, most=most or 1, what="its second derivatives")


def _way(model: nn.Module, objective: Loss, params: Mapping[str, nn.Parameter], counted: Counted) -> Any:
    """The faster way to a product that is right, as a function of the direction."""
    restore = random_state(model)
    faster = partial(reverse_over_forward, model, objective, params)
    safer = partial(reverse_over_reverse, model, objective, params)
    tried = {name: parameter.detach() for name, parameter in params.items()}
    quick = faster(tried)
    chosen = choose(quick, safer(tried), part(counted, 0, 2))
    restore()
    return faster if chosen is quick else safer


def _signs(params: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    signs = {name: random_signs(parameter.detach()) for name, parameter in params.items()}
    return {name: sign * masks[name] if name in masks else sign for name, sign in signs.items()}
