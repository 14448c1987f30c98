"""What follows from a trial that failed: an attribute that counts channels was found, or a node is not explained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import nn

from flowprune.core.errors import PruningError
from flowprune.core.units import Layout
from flowprune.structure.capture import Captured, Deadline
from flowprune.structure.example import Example
from flowprune.structure.grouping import groups
from flowprune.structure.ledger import Ledger
from flowprune.structure.lessons import Attribute, Lessons, Place, Spot
from flowprune.structure.sizes import Sizes, alike, candidates, told
from flowprune.structure.trial import Disproof, attempt

GUESSES = 32
"""How many sets of attributes are tried in one trace."""
RUNS = "the code does not run, or takes another way, without one of these channels"


@dataclass(frozen=True, eq=False)
class Bench:
    """What trials are made with.

    Attributes:
        twin: Without weights.
        graphs: Of it.
        example: What it is called with.
        deadline: For all trials together.
        guesses: How many are left.
    """

    twin: nn.Module
    graphs: Sequence[Captured]
    example: Example
    deadline: Deadline
    guesses: Iterator[int] = field(default_factory=lambda: iter(range(GUESSES)))

    def may_guess(self) -> bool:
        """Whether one more guess is to be tried; after that what fails is left whole, so that a trace ends."""
        return next(self.guesses, None) is not None

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
            if not (_made(ledger, disproof) or _joined(bench, ledger, disproof)):
                _disprove(bench, ledger, disproof)
            return False
        disproof = after
    return True


def _disprove(bench: Bench, ledger: Ledger, disproof: Disproof) -> None:
    """Note what is not explained: at least one node more than before, so that walks come to an end.

    Raises:
        PruningError: there is none left to blame.
    """
    lessons = ledger.lessons
    if lessons.disprove(disproof.spots, disproof.reason):
        return
    if lessons.disprove(_one_by_one(bench, ledger), RUNS):
        return
    if not lessons.disprove([_first(ledger, name) for name in groups(ledger)], RUNS):
        raise PruningError(
            f"trace(model=) must be a model of which a cut copy can be understood; {disproof.reason}, and it cannot be "
            "told which. Nothing was changed. Please report the model."
        )


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
        if not new or not bench.may_guess():
            continue
        lessons.sizes.update(new)
        after = bench.attempt(ledger)
        if after is None or _place(ledger, after) > _place(ledger, disproof):
            return True, after
        _forget(lessons, new)
    return False, disproof


def _made(ledger: Ledger, disproof: Disproof) -> bool:
    """Whether a constant was made as long as an attribute says: from here on its entries are the channels' own."""
    lessons, known = ledger.lessons, ledger.sizes()
    for spot, axis, _ in disproof.made:
        size = ledger.results[spot][0].shape[axis]
        counting = next((attribute for attribute, atoms in known.items() if len(atoms) == size), None)
        if counting is not None and (spot, axis) not in lessons.made:
            lessons.made.add((spot, axis))
            lessons.joined.add((counting, (spot, axis)))
            return True
    return False


def _joined(bench: Bench, ledger: Ledger, disproof: Disproof) -> bool:
    """Whether an attribute seems to count several channels, here or elsewhere: from here on they are cut together."""
    lessons = ledger.lessons
    places: dict[Attribute, list[Place]] = {}
    for spot in disproof.spots:
        for sizes in candidates(bench.twin, bench.graphs, ledger, [spot]):
            for attribute, place in sizes.items():
                first = places.setdefault(attribute, [lessons.sizes.get(attribute, place)])
                if place not in first:
                    first.append(place)
    for attribute, (first, *others) in places.items():
        new = {(attribute, other) for other in others} - lessons.joined
        if new and bench.may_guess():
            lessons.sizes.setdefault(attribute, first)
            lessons.joined |= new
            return True
    return False


def _place(ledger: Ledger, disproof: Disproof) -> int:
    """How far the code ran as foretold: the number of the first node that failed."""
    places = {spot: number for number, spot in enumerate(ledger.dims)}
    return min((places[spot] for spot in (*disproof.spots, *(made for made, *_ in disproof.made))), default=-1)


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
