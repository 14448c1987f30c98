"""The diagonal of the generalised Gauss-Newton matrix, exactly or from random labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from flowprune.objectives.output_curvature import Derived, OutputCurvature
from flowprune.signals.batches import Counted, per_shape
from flowprune.signals.curvature.asked import Curvature
from flowprune.signals.curvature.memory import examples_within, working_space
from flowprune.signals.fisher import Squares, squares_pass
from flowprune.signals.footprint import Footprint, footprint
from flowprune.signals.parts import LEAST, on_cpu, within_room
from flowprune.signals.per_example import CHUNK, PerExample, Way


def gauss_newton_pass(
    model: nn.Module,
    objective: Any,
    batches: Iterable[Counted],
    params: Mapping[str, nn.Parameter],
    asked: Curvature,
    *,
    micro_batch: int | None,
) -> Squares:
    r"""E over examples of diag J_i^T (d^2 l_i/dz^2) J_i = sum over columns v of (J_i^T v)^2.

    Per-example gradients of each column are squared before they are averaged: squared batch means are another
    quantity. All columns are pulled back through one graph; where a weight's gradient is a sum over few positions, the
    columns are summed before the one large product, so that most layers cost far less than a backward pass a column.

    Batches are split into parts of at most ``micro_batch`` examples (None: as many as take little memory, and
    :data:`~flowprune.signals.parts.LEAST` in any case), and of no more than the memory allows.

    Shapes: as the parameters. Units: loss per squared weight.
    Source: as the diagonal in Laurent et al. 2020, arXiv 2006.12279.

    Raises:
        ValueError: too little memory for one example, a loss that is not convex in the outputs or is no function of
            them, or no loss per example.
        PruningError: examples are coupled by a batch norm.
    """
    per_example: PerExample = objective.per_example
    curvature: OutputCurvature = getattr(objective, "output_curvature", None) or Derived(per_example)

    def pulled(outputs: Tensor, batch: Any) -> Iterator[Tensor]:
        if asked.kind == "ggn":
            return curvature.columns(outputs, batch)
        return (v / asked.samples**0.5 for v in curvature.samples(outputs, batch, asked.samples))

    seen = per_shape(lambda counted: footprint(model, per_example, params, counted))

    def most(way: Way, counted: Counted) -> int:
        return _examples(way, params, seen(counted), asked=asked, curvature=curvature, micro_batch=micro_batch)

    return squares_pass(model, per_example, batches, params, most=most, pulled=pulled)


def _examples(
    way: Way,
    params: Mapping[str, nn.Parameter],
    seen: Footprint,
    *,
    asked: Curvature,
    curvature: OutputCurvature,
    micro_batch: int | None,
) -> int:
    """How many at a time fit into the memory."""
    vectors = curvature.count(seen.outputs) if asked.kind == "ggn" else asked.samples
    what = f"{seen.outputs[0].numel():,} outputs"
    if way.name == "hooked":
        each, fixed = seen.for_vectors(vectors) + curvature.bytes(seen.outputs), working_space(params)
        # What draws does so for each part: in the same parts whatever an example takes.
        together = asked.kind == "ggn" and on_cpu(params)
        most = micro_batch or (within_room(each) if together else LEAST)
        return examples_within(asked, each, fixed, most=most, what=what)
    each = 4 * seen.parameters + 3 * seen.graph + curvature.bytes(seen.outputs)
    return examples_within(asked, each, 0, most=min(micro_batch or LEAST, CHUNK), what=what)
