"""What of a model can be cut, and what cannot and why."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager, suppress

import numpy as np
from torch import nn

from flowprune.core.arguments import require_model
from flowprune.structure.call import op_name, where
from flowprune.structure.capture import Captured, CaptureError, Deadline, capture, depthwise
from flowprune.structure.example import Example
from flowprune.structure.grouping import groups, left_whole, silently_whole
from flowprune.structure.hollow import hollow
from flowprune.structure.learning import Bench, holds
from flowprune.structure.ledger import Ledger
from flowprune.structure.lessons import Lessons
from flowprune.structure.memory import recall, remember
from flowprune.structure.parametrized import computed
from flowprune.structure.records import Refusal, Trace
from flowprune.structure.rules import rules
from flowprune.structure.twin import LIBRARIES, has_hooks
from flowprune.structure.walk import walk

MEETS = "its channels meet a tensor whose size is what it is"
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
    with _collector_at_rest():
        found = _traced(model, example.copied(), Deadline(time_limit))
    remember(model, found, example.signature, example.first(2).copied())
    return found


@contextmanager
def _collector_at_rest() -> Generator[None]:
    """Within the block no garbage is looked for: a capture makes many objects, and a tenth of its time was spent so."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _traced(model: nn.Module, example: Example, deadline: Deadline) -> Trace:
    """Walk, and try what was found on a cut twin, until a trial finds nothing against it."""
    twin = hollow(model)
    try:
        graphs, unused = _graphs(twin, example, deadline)
    except CaptureError as error:
        if not has_hooks(model):
            raise
        todo = "The model has forward hooks, which a trace leaves out: compute in forward() what it needs of them."
        raise CaptureError(f"{error} {todo}") from error
    bench, lessons = Bench(twin, graphs, example, deadline), Lessons()
    while True:
        ledger = _walked(twin, graphs, lessons, deadline)
        if not _turned(ledger) and holds(bench, ledger):
            return _result(ledger, unused, computed(twin))


def _graphs(twin: nn.Module, example: Example, deadline: Deadline) -> tuple[list[Captured], tuple[str, ...]]:
    """The graph of evaluation mode, and that of training mode where the model does something else in it.

    That is where some parameters are read only there, or where the code of a module that is not of a library asks for
    the mode.
    """
    graphs = [capture(twin, example, mode="eval", deadline=deadline)]
    unused = graphs[0].unused
    if unused or any(_asks_for_the_mode(kind) for kind in {type(module) for module in twin.modules()}):
        with suppress(CaptureError):
            graphs.append(capture(twin, example, mode="train", deadline=deadline))
            unused = tuple(name for name in unused if name in graphs[1].unused)
    return graphs, unused


def _asks_for_the_mode(kind: type[nn.Module]) -> bool:
    """Whether a class of modules, outside libraries, reads ``training`` in its methods."""
    own = (base for base in kind.__mro__ if base.__module__.partition(".")[0] not in LIBRARIES)
    codes = (getattr(item, "__code__", None) for base in own for item in vars(base).values())
    return any(code is not None and "training" in code.co_names for code in codes)


def _walked(twin: nn.Module, graphs: list[Captured], lessons: Lessons, deadline: Deadline) -> Ledger:
    ledger, table = Ledger(depthwise(twin), lessons), rules()
    for number, captured in enumerate(graphs):
        walk(captured, ledger, table, deadline, number=number)
    ledger.join()
    return ledger


def _turned(ledger: Ledger) -> bool:
    """Whether a reshape whose channels were refused takes another of its dimensions, so that one has to walk again.

    Those of which the code computes the size come last: others, with which they are paired, may come to agree.
    """
    label = ledger.atoms.labels()
    refused = np.zeros(len(label), dtype=bool)
    refused[label[ledger.refused_atoms()]] = True
    stuck = [split for split in ledger.splits if split.options > 1 and refused[label[split.atoms]].any()]
    lessons = ledger.lessons
    return any(
        sum(lessons.turn(split.spot, split.options) for split in stuck if split.free is free) > 0
        for free in (False, True)
    )


def _result(ledger: Ledger, unused: tuple[str, ...], besides: tuple[Refusal, ...]) -> Trace:
    refusals = tuple(
        Refusal(node.name, op_name(node), where(node), reason, weights)
        for (node, reason), weights in zip(ledger.refused, left_whole(ledger), strict=True)
        if weights
    )
    silent = tuple(
        Refusal(node.name, op_name(node), where(node), MEETS, weights)
        for node, weights in silently_whole(ledger).items()
    )
    refusals += silent
    return Trace(
        groups(ledger),
        refusals + besides,
        ledger.makers,
        {name: tuple(found) for name, found in ledger.owned.items()},
        unused,
    )
