"""What follows from a trial that failed: an attribute that counts channels was found, or a node is not explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from flowprune.core.units import Layout
from flowprune.structure.capture import Captured, Deadline
from flowprune.structure.example import Example
from flowprune.structure.grouping import groups
from flowprune.structure.ledger import Ledger
from flowprune.structure.lessons import Lessons, Spot
from flowprune.structure.sizes import Sizes, alike, candidates, told
from flowprune.structure.trial import Disproof, attempt

RUNS = "the code does not run, or takes another way, without one of these channels"


@dataclass(frozen=True, eq=False)
class Bench:
    """What trials are made with.

    Attributes:
        twin: Without weights.
        graphs: Of it.
        example: What it is called with.
        deadline: For all trials together.
    """

    twin: nn.Module
    graphs: Sequence[Captured]
    example: Example
    deadline: Deadline

    def attempt(self, ledger: Ledger, layout: Layout | None = None) -> Disproof | None:
        """Try what a walk has found; see :func:`~flowprune.structure.trial.attempt`."""
        offered = groups(ledger) if layout is None else layout
        return attempt(self.twin, self.graphs, ledger, offered, self.example, self.deadline)


def holds(bench: Bench, ledger: Ledger) -> bool:
    """Whether a cut twin does what a walk foretells; where it does not, the ledger's lessons say more than before.

    Where attributes of modules, set to what is left, mend the nodes that failed, they follow the channels from here on:
    that changes nothing of the walk. Else the nodes are not explained, and one has to walk again.
    """
    lessons = ledger.lessons
    named = _named(bench, ledger)
    disproof = bench.attempt(ledger)
    while disproof is not None:
        mended, after = _mended(bench, ledger, disproof)
        if not mended and named:
            _forget(lessons, named)
            named, after = {}, bench.attempt(ledger)
        elif not mended:
            spots = disproof.spots or _one_by_one(bench, ledger)
            for spot in spots:
                lessons.disprove(spot, disproof.reason if disproof.spots else RUNS)
            return False
        disproof = after
    return True


def _named(bench: Bench, ledger: Ledger) -> Sizes:
    """Attributes whose name says that they count what can be cut follow too, unless the code goes wrong with them."""
    known = ledger.lessons.sizes
    named = {a: place for a, place in told(bench.twin, bench.graphs, ledger, groups(ledger)).items() if a not in known}
    known.update(named)
    return named


def _forget(lessons: Lessons, sizes: Sizes) -> None:
    for attribute in sizes:
        lessons.sizes.pop(attribute, None)


def _mended(bench: Bench, ledger: Ledger, disproof: Disproof) -> tuple[bool, Disproof | None]:
    """Whether attributes that follow the channels mend the nodes that failed, and what fails then."""
    lessons = ledger.lessons
    likely = candidates(bench.twin, bench.graphs, ledger, disproof.spots)
    for sizes in [*likely, *alike(bench.twin, bench.graphs, ledger, disproof.before)]:
        new = {attribute: place for attribute, place in sizes.items() if attribute not in lessons.sizes}
        if not new:
            continue
        lessons.sizes.update(new)
        after = bench.attempt(ledger)
        if after is None or (after.spots and _place(ledger, after) > _place(ledger, disproof)):
            return True, after
        _forget(lessons, new)
    return False, disproof


def _place(ledger: Ledger, disproof: Disproof) -> int:
    """How far the code ran as foretold: the number of the first node that failed."""
    places = {spot: number for number, spot in enumerate(ledger.dims)}
    return min((places[spot] for spot in disproof.spots), default=-1)


def _one_by_one(bench: Bench, ledger: Ledger) -> list[Spot]:
    """The first reader of each group without a channel of which the code does not run as foretold."""
    guilty: list[Spot] = []
    pending: list[Layout] = [groups(ledger)]
    while pending:
        layout = pending.pop()
        if bench.attempt(ledger, layout) is None:
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
