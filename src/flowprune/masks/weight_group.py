"""Units that are parts of one weight: the entries that a pattern puts together."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.core.units import Members, Role


class Pattern(Protocol):
    """What the units of a weight are; every tensor it is given has its outputs on axis 0 and its inputs on axis 1."""

    @property
    def name(self) -> str:
        """The word used in specs and files: the pattern can be built from it."""
        ...

    @property
    def unit(self) -> str:
        """What the units are called, in the plural."""
        ...

    @property
    def sparsity(self) -> float | None:
        """The one sparsity it allows; None for any."""
        ...

    def grid(self, weight: Sequence[int]) -> tuple[int, ...]:
        """The shape of the units of a weight of this shape."""
        ...

    def total(self, values: Tensor) -> Tensor:
        """Entries added up by unit."""
        ...

    def spread(self, mask: Tensor, weight: Sequence[int]) -> Tensor:
        """A mask of units, laid over the entries of a weight of this shape."""
        ...

    def fan_in(self, weight: Tensor) -> Tensor:
        """How many weights each unit sums over; for a unit of one weight, those of its output."""
        ...

    def required(self, scores: Tensor, alive: Tensor | None) -> Tensor | None:
        """The units that must stay; None where any may go."""
        ...


@dataclass(frozen=True, eq=False)
class WeightGroup:
    """The units of one weight by a pattern. They become zero and stay in place.

    Attributes:
        name: Of the weight.
        weight: Its shape.
        pattern: What the units are.
        inputs_first: Whether axis 0 of the weight are its inputs, as in transposed convolutions. Scores and masks lie
            as the weight does: their first two axes are exchanged then.
    """

    name: str
    weight: tuple[int, ...]
    pattern: Pattern
    inputs_first: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of scores and masks."""
        first, second, *rest = self.pattern.grid(self._turned_shape)
        return (second, first, *rest) if self.inputs_first else (first, second, *rest)

    @property
    def unit(self) -> str:
        """What the units are called."""
        return self.pattern.unit

    @property
    def removable(self) -> bool:
        """They stay in place, at zero."""
        return False

    @property
    def least(self) -> int:
        """A weight that is zero altogether is refused."""
        return 1

    @property
    def channelwise(self) -> bool:
        """They are parts of outputs."""
        return False

    @property
    def sparsity(self) -> float | None:
        """The one that the pattern allows."""
        return self.pattern.sparsity

    @property
    def structure(self) -> Hashable:
        """The units and the shape of the weight that they are parts of."""
        return self.unit, self.weight, self.inputs_first

    def read(self, on: Role, members: Members = "producers") -> tuple[str, ...]:
        """The weight itself.

        Raises:
            ValueError: weights that read the units are asked for; parts of a weight have none.
        """
        if members != "producers":
            todo = "Weights that read a unit count for channels."
            raise invalid("score(members=)", f"'producers' with {self.unit}", members, todo)
        return (self.name,) if on == "weight" else ()

    def total(self, values: Mapping[str, Tensor], on: Role, members: Members = "producers") -> Tensor | None:
        """Entries of the weight added up by unit."""
        if self.name not in values or self.name not in self.read(on, members):
            return None
        return self._turned(self.pattern.total(self._turned(values[self.name])))

    def spread(self, mask: Tensor, params: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """The mask, laid over the weight.

        Raises:
            ValueError: the weight has another shape.
        """
        if self.name not in params:
            return
        if params[self.name].shape != self.weight:
            got = f"a weight of shape {tuple(params[self.name].shape)}"
            raise invalid(f"apply(masks=): mask of {self.name!r}", f"for a weight of shape {self.weight}", got)
        yield self.name, self._turned(self.pattern.spread(self._turned(mask), self._turned_shape))

    def fan_in(self, params: Mapping[str, Tensor], members: Members = "producers") -> Tensor:
        """The weights of each unit, counted."""
        self.read("weight", members)
        return self._turned(self.pattern.fan_in(self._turned(params[self.name])))

    def required(self, scores: Tensor, alive: Tensor | None) -> Tensor | None:
        """The units that the pattern keeps."""
        kept = self.pattern.required(self._turned(scores), None if alive is None else self._turned(alive))
        return None if kept is None else self._turned(kept)

    def _turned(self, tensor: Tensor) -> Tensor:
        """Outputs first; and back, since exchanging twice is none."""
        return tensor.transpose(0, 1) if self.inputs_first else tensor

    @property
    def _turned_shape(self) -> tuple[int, ...]:
        first, second, *rest = self.weight
        return (second, first, *rest) if self.inputs_first else self.weight
