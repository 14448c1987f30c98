"""What of a model can be cut, and what cannot and why."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from torch import nn

from flowprune.core.arguments import require_model
from flowprune.structure.call import op_name, where
from flowprune.structure.capture import Captured, CaptureError, Deadline, capture, depthwise
from flowprune.structure.example import Example
from flowprune.structure.grouping import groups, left_whole
from flowprune.structure.hollow import hollow
from flowprune.structure.learning import Bench, holds
from flowprune.structure.ledger import Ledger
from flowprune.structure.lessons import Lessons
from flowprune.structure.memory import recall, remember
from flowprune.structure.parametrized import computed
from flowprune.structure.records import Refusal, Trace
from flowprune.structure.rules import rules
from flowprune.structure.walk import walk

TIME_LIMIT = 120.0
"""Seconds after which a trace gives up."""


def trace(model: nn.Module, example_inputs: object, *, time_limit: float = TIME_LIMIT) -> Trace:
    """Which channels of a model can be removed, proven on the graph that ``torch.export`` captures.

    Every index of every tensor is followed to the index of the weight that makes it. A unit is offered only if its
    channel is exactly zero wherever it is added up, once its filters, biases and norms are zeroed, in evaluation and
    in training mode; what the rules cannot prove is named in ``refusals`` and left whole. The model is not changed.

    Args:
        model: Any module that ``torch.export`` captures without strict mode.
        example_inputs: A tensor, a tuple of positional or a mapping of named arguments; two examples are enough.
        time_limit: Seconds after which to give up with an error.

    Raises:
        ValueError: no module, one with lazy parameters, or inputs without a tensor.
        PruningError: the model cannot be copied or captured, or time is up.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> found = trace(model, torch.ones(2, 3))
        >>> [(group.name, group.size) for group in found.groups.values()], found.refusals
        ([('0.weight', 5)], ())
    """
    require_model("trace", model)
    example = Example.of(example_inputs)
    known = recall(model, example.signature)
    if known is not None:
        return known.trace
    found = _traced(model, example.copied(), Deadline(time_limit))
    remember(model, found, example.signature, example.first(2).copied())
    return found


def _traced(model: nn.Module, example: Example, deadline: Deadline) -> Trace:
    """Walk, and try what was found on a cut twin, until a trial finds nothing against it."""
    twin = hollow(model)
    graphs, unused = _graphs(twin, example, deadline)
    bench, lessons = Bench(twin, graphs, example, deadline), Lessons()
    while True:
        ledger = _walked(twin, graphs, lessons, deadline)
        if not _turned(ledger) and holds(bench, ledger):
            return _result(ledger, unused, computed(twin))


def _graphs(twin: nn.Module, example: Example, deadline: Deadline) -> tuple[list[Captured], tuple[str, ...]]:
    """The graph of evaluation mode, and that of training mode where some parameters are read only there."""
    graphs = [capture(twin, example, mode="eval", deadline=deadline)]
    unused = graphs[0].unused
    if unused:  # heads that only training uses read channels too
        with suppress(CaptureError):
            graphs.append(capture(twin, example, mode="train", deadline=deadline))
            unused = tuple(name for name in unused if name in graphs[1].unused)
    return graphs, unused


def _walked(twin: nn.Module, graphs: list[Captured], lessons: Lessons, deadline: Deadline) -> Ledger:
    ledger, table = Ledger(depthwise(twin), lessons), rules()
    for number, captured in enumerate(graphs):
        walk(captured, ledger, table, deadline, number=number)
    return ledger


def _turned(ledger: Ledger) -> bool:
    """Whether a reshape whose channels were refused takes another of its dimensions, so that one has to walk again."""
    label = ledger.atoms.labels()
    refused = np.zeros(len(label), dtype=bool)
    refused[label[ledger.refused_atoms()]] = True
    stuck = [split for split in ledger.splits if split.options > 1 and refused[label[split.atoms]].any()]
    return sum(ledger.lessons.turn(split.spot, split.options) for split in stuck) > 0


def _result(ledger: Ledger, unused: tuple[str, ...], besides: tuple[Refusal, ...]) -> Trace:
    refusals = tuple(
        Refusal(node.name, op_name(node), where(node), reason, weights)
        for (node, reason), weights in zip(ledger.refused, left_whole(ledger), strict=True)
        if weights
    )
    return Trace(
        groups(ledger),
        refusals + besides,
        ledger.makers,
        {name: tuple(found) for name, found in ledger.owned.items()},
        unused,
    )
