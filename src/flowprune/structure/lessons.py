"""What trials have taught about a model, so that the graph is walked again with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from flowprune.structure.atoms import Ints


class Spot(NamedTuple):
    """A node of one of the graphs of a model.

    Attributes:
        graph: 0 for evaluation mode, 1 for training mode.
        node: Its name.
    """

    graph: int
    node: str


Attribute: TypeAlias = tuple[str, str]
"""The path of a module, and an attribute of it."""
Place: TypeAlias = tuple[Spot, int]
"""A node, and the number of a dimension among those that flow into and out of it."""


class Split(NamedTuple):
    """A reshape that splits channels over several dimensions, one of which can shrink.

    Attributes:
        spot: The node.
        atoms: Of the channels.
        options: How many dimensions there are to choose from.
        free: Whether the code computes the size of the first of them, which speaks for it.
    """

    spot: Spot
    atoms: Ints
    options: int
    free: bool = False


@dataclass(eq=False)
class Lessons:
    """What is known beyond the rules.

    Attributes:
        choices: For a reshape, which of its options is taken; the first where it is not named.
        exhausted: Reshapes of which every option was refused.
        disproved: Nodes that a cut has shown to do something else than their rule says, and why.
        sizes: Attributes that count channels: each counts the dimension of that number among those that flow into
            and out of a node.
        joined: Further dimensions that an attribute counts: their channels are one with those that it counts first.
        made: Axes of constant tensors that the code makes as long as an attribute says.
    """

    choices: dict[Spot, int] = field(default_factory=dict[Spot, int])
    exhausted: set[Spot] = field(default_factory=set[Spot])
    disproved: dict[tuple[Spot, int], str] = field(default_factory=dict[tuple[Spot, int], str])
    sizes: dict[Attribute, Place] = field(default_factory=dict[Attribute, Place])
    joined: set[tuple[Attribute, Place]] = field(default_factory=set[tuple[Attribute, Place]])
    made: set[tuple[Spot, int]] = field(default_factory=set[tuple[Spot, int]])

    def choice(self, spot: Spot) -> int:
        """Which option of a reshape is taken."""
        return self.choices.get(spot, 0)

    def disprove(self, spots: Iterable[Spot], reason: str) -> bool:
        """Nodes, as they are read now, are not what their rules say. Whether that was new of any."""
        known = len(self.disproved)
        for spot in spots:
            self.disproved.setdefault((spot, self.choice(spot)), reason)
            self.joined = {(attribute, place) for attribute, place in self.joined if place[0] != spot}
            self.made = {(made, axis) for made, axis in self.made if made != spot}
        return len(self.disproved) > known

    def reason(self, spot: Spot) -> str | None:
        """Why a node, as it is read now, cannot be explained."""
        return self.disproved.get((spot, self.choice(spot)))

    def turn(self, spot: Spot, options: int) -> bool:
        """Take the next option of a reshape; the first again, for good, where there is none. Whether it changed."""
        if spot in self.exhausted:
            return False
        following = self.choice(spot) + 1
        if following == options:
            self.exhausted.add(spot)
            following = 0
        changed = following != self.choice(spot)
        self.choices[spot] = following
        return changed
