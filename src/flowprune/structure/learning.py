"""What follows from a trial that failed: an attribute that counts channels was found, or a node is not explained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from flowprune.core.units import Layout
from flowprune.structure.capture import Captured, Deadline
from flowprune.structure.example import Example
from flowprune.structure.grouping import groups
from flowprune.structure.ledger import Ledger
from flowprune.structure.lessons import Spot
from flowprune.structure.sizes import Sizes, candidates, told
from flowprune.structure.trial import Disproof, attempt

RUNS = "the code does not run, or takes another way, without one of these channels"


def learn(
    twin: nn.Module,
    graphs: Sequence[Captured],
    ledger: Ledger,
    disproof: Disproof,
    example: Example,
    deadline: Deadline,
) -> None:
    """Write into the ledger's lessons what a failed trial says, so that the next one goes further.

    Where attributes of modules, set to what is left, mend the nodes that failed, these attributes follow the channels
    from here on. Else the nodes are not explained. Where no node can be named, the groups are tried one by one.
    """
    lessons = ledger.lessons
    for sizes in candidates(twin, graphs, ledger, disproof.spots):
        new = {attribute: place for attribute, place in sizes.items() if attribute not in lessons.sizes}
        if not new:
            continue
        lessons.sizes.update(new)
        after = attempt(twin, graphs, ledger, groups(ledger), example, deadline)
        if after is None or (after.spots and not set(after.spots) & set(disproof.spots)):
            return
        for attribute in new:
            del lessons.sizes[attribute]
    spots = disproof.spots or _one_by_one(twin, graphs, ledger, example, deadline)
    for spot in spots:
        lessons.disprove(spot, disproof.reason if disproof.spots else RUNS)


def _one_by_one(
    twin: nn.Module, graphs: Sequence[Captured], ledger: Ledger, example: Example, deadline: Deadline
) -> list[Spot]:
    """The first reader of each group without a channel of which the code does not run as foretold."""
    guilty: list[Spot] = []
    pending: list[Layout] = [groups(ledger)]
    while pending:
        layout = pending.pop()
        if attempt(twin, graphs, ledger, layout, example, deadline) is None:
            continue
        names = list(layout)
        if len(names) > 1:
            half = len(names) // 2
            pending += [{n: layout[n] for n in names[:half]}, {n: layout[n] for n in names[half:]}]
        else:
            guilty.append(_first(ledger, names[0]))
    return guilty or [_first(ledger, name) for name in groups(ledger)]


def _first(ledger: Ledger, name: str) -> Spot:
    """The first node that reads the channels of a group: the one before makes them."""
    label = ledger.atoms.labels()
    mine = set(label[ledger.axes[name, ledger.makers[name]].atoms].tolist())
    touched = [
        spot
        for spot, dims in ledger.dims.items()
        if any(dim is not None and mine.intersection(label[dim.atoms].tolist()) for dim in dims)
    ]
    return touched[min(1, len(touched) - 1)]


def say(
    twin: nn.Module, graphs: Sequence[Captured], ledger: Ledger, layout: Layout, example: Example, deadline: Deadline
) -> None:
    """Let attributes whose name says that they count what can be cut follow too, if the code still runs as foretold."""
    lessons = ledger.lessons
    new: Sizes = {a: place for a, place in told(twin, graphs, ledger, layout).items() if a not in lessons.sizes}
    if not new:
        return
    lessons.sizes.update(new)
    if attempt(twin, graphs, ledger, groups(ledger), example, deadline) is not None:
        for attribute in new:
            del lessons.sizes[attribute]
