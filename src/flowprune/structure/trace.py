"""What of a model can be cut, and what cannot and why."""

from __future__ import annotations

from contextlib import suppress

from torch import nn

from flowprune.core.arguments import require_model
from flowprune.structure.call import op_name, where
from flowprune.structure.capture import CaptureError, Deadline, capture, depthwise
from flowprune.structure.disproof import disprove
from flowprune.structure.example import Example
from flowprune.structure.grouping import groups, left_whole
from flowprune.structure.ledger import Ledger
from flowprune.structure.memory import recall, remember
from flowprune.structure.records import Refusal, Trace
from flowprune.structure.rules import rules
from flowprune.structure.twin import duplicate
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
    twin = duplicate(model)
    ledger, table = Ledger(depthwise(twin)), rules()
    captured = capture(twin, example, mode="eval", deadline=deadline)
    walk(captured, ledger, table, deadline)
    unused = captured.unused
    if unused:  # heads that only training uses read channels too
        with suppress(CaptureError):
            training = capture(twin, example, mode="train", deadline=deadline)
            walk(training, ledger, table, deadline)
            unused = tuple(name for name in unused if name in training.unused)
    found = _result(ledger, unused)
    while disprove(twin, example, found.groups, ledger, deadline):
        found = _result(ledger, unused)
    return found


def _result(ledger: Ledger, unused: tuple[str, ...]) -> Trace:
    refusals = tuple(
        Refusal(node.name, op_name(node), where(node), reason, weights)
        for (node, reason), weights in zip(ledger.refused, left_whole(ledger), strict=True)
        if weights
    )
    return Trace(
        groups(ledger),
        refusals,
        ledger.makers,
        {name: tuple(found) for name, found in ledger.owned.items()},
        unused,
    )
