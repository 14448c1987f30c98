"""Very many walks at once: which weights they visit, and which walk is the first to visit each.

Walks with even numbers go forward, from the input units in turn; those with odd numbers go back, from the output units
in turn. Weights do not change while one walks, so walks do not depend on each other and are taken in blocks. The sizes
of the blocks and their random numbers depend on nothing but the seed: whoever walks on sees the same walks first.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flowprune.core.seeds import stream
from flowprune.structure.paths.graph import Edge, PathGraph, WeightLayer
from flowprune.structure.paths.steps import Layer

SMALLEST, LARGEST = 1 << 10, 1 << 17
"""Walks of the first block, and of those that are twice and twice again as large in the end."""
FRUITLESS = 1 << 20
"""Walks on end without a new weight after which one gives up."""
NEVER = torch.iinfo(torch.int64).max


@dataclass(frozen=True, eq=False)
class Visits:
    """Which weights were visited, in which order.

    Attributes:
        first: By name, the moment of the first visit: number of the walk times layers plus the layer, so that moments
            differ. It says nothing where there was no visit.
        visited: By name, boolean: whether there was one.
        walks: How many walks were taken.
    """

    first: dict[str, Tensor]
    visited: dict[str, Tensor]
    walks: int

    @property
    def count(self) -> int:
        """How many weights were visited."""
        return sum(int(torch.count_nonzero(mask)) for mask in self.visited.values())


def visit(
    graph: PathGraph,
    weights: Mapping[str, Tensor],
    budget: int,
    *,
    masks: Mapping[str, Tensor] | None = None,
    counted: frozenset[str] | None = None,
    seed: int = 0,
    walks: int = 1 << 27,
) -> Visits:
    """Walk until at least ``budget`` different weights have been visited, or until it leads nowhere.

    A step goes to a unit with probability proportional to the sum of abs(w) over the kernel, then to a position of the
    kernel in proportion to abs(w). Where all weights of a unit are zero it is uniform over those that are kept. Where
    none is kept the walk ends and counts for nothing. Of the consumers of a value, and of the summands of a sum, one is
    taken with equal probability. It gives up after ``walks`` walks, or ``FRUITLESS`` on end without a new weight.

    Shapes: the results have the shapes of the weights, on the CPU.

    Args:
        graph: Of the model.
        weights: At least those of the graph, by name.
        budget: How many different weights, over all counted ones together.
        masks: True = kept; what is not is never walked.
        counted: The weights that count in the budget; all by default.
        seed: Of the walks.
        walks: At most this many.

    Example:
        >>> graph = PathGraph((2, 2), (WeightLayer(0, 1, "w"),), (0,), (1,))
        >>> visit(graph, {"w": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}, 2).visited["w"]
        tensor([[ True, False],
                [False,  True]])
    """
    layers = {
        (edge.weight, edge.groups): Layer.of(weights[edge.weight], (masks or {}).get(edge.weight), groups=edge.groups)
        for edge in graph.layers
    }
    first = {name: torch.full((weights[name].numel(),), NEVER) for name in graph.weights}
    names = [name for name in graph.weights if counted is None or name in counted]
    taken = found = fruitless = 0
    for number, size in enumerate(_blocks(walks)):
        generator = stream(seed, "walks", number)
        for name, moments, entries in _block(graph, layers, range(taken, taken + size), generator):
            first[name].scatter_reduce_(0, entries, moments, "amin")
        before, found = found, sum(int(torch.count_nonzero(first[name] != NEVER)) for name in names)
        taken, fruitless = taken + size, 0 if found > before else fruitless + size
        if found >= budget or fruitless >= FRUITLESS:
            break
    shaped = {name: moment.view(weights[name].shape) for name, moment in first.items()}
    return Visits(shaped, {name: moment != NEVER for name, moment in shaped.items()}, taken)


def _blocks(walks: int) -> Generator[int]:
    """Sizes of blocks, the last one cut so that they add up."""
    size = SMALLEST
    while walks > 0:
        yield min(size, walks)
        walks, size = walks - size, min(2 * size, LARGEST)


def _block(
    graph: PathGraph, layers: Mapping[tuple[str, int], Layer], numbers: range, generator: torch.Generator
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """For every layer, the moments at which whole walks visit entries of its weight, forward and back."""
    order = {id(layer): place for place, layer in enumerate(graph.layers)}
    for forward in (True, False):
        own = torch.arange(numbers.start + (not forward), numbers.stop, 2)
        walk = _Walk(graph, layers, forward, generator)
        walk.run(own)
        for edge, places, entries in walk.steps:
            whole = walk.arrived[places]
            yield edge.weight, own[places[whole]] * len(order) + order[id(edge)], entries[whole]


class _Walk:
    """A block of walks in one direction: who stands where, and who has arrived."""

    def __init__(
        self, graph: PathGraph, layers: Mapping[tuple[str, int], Layer], forward: bool, generator: torch.Generator
    ) -> None:
        self.graph, self.layers, self.forward, self.generator = graph, layers, forward, generator
        self.starts, self.ends = (graph.inputs, graph.outputs) if forward else (graph.outputs, graph.inputs)
        self.standing: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self.steps: list[tuple[WeightLayer, Tensor, Tensor]] = []
        self.arrived = torch.empty(0, dtype=torch.bool)

    def run(self, numbers: Tensor) -> None:
        """Take these walks, vertex by vertex: nobody comes to a vertex that has been left."""
        self.arrived = torch.zeros(len(numbers), dtype=torch.bool)
        self._start(numbers // 2)
        vertices = range(len(self.graph.sizes))
        for vertex in vertices if self.forward else reversed(vertices):
            groups = self.standing.pop(vertex, [])
            if groups:
                self._leave(vertex, torch.cat([g[0] for g in groups]), torch.cat([g[1] for g in groups]))

    def _start(self, turns: Tensor) -> None:
        """Walk n starts at the unit whose turn it is, over all starts together."""
        units = turns % sum(self.graph.sizes[vertex] for vertex in self.starts)
        offset = 0
        for vertex in self.starts:
            size = self.graph.sizes[vertex]
            places = ((units >= offset) & (units < offset + size)).nonzero()[:, 0]
            self.standing.setdefault(vertex, []).append((places, units[places] - offset))
            offset += size

    def _leave(self, vertex: int, places: Tensor, units: Tensor) -> None:
        """Everyone at a vertex takes one of the ways on, each as likely as another."""
        near = [e for e in self.graph.edges if (e.source if self.forward else e.target) == vertex]
        ways: list[Edge | None] = [*near, *([None] if vertex in self.ends else [])]
        if len(ways) == 1:
            self._take(ways[0], places, units)
            return
        allowed = torch.stack([self._carries(way, units) for way in ways]) if ways else torch.empty(0, len(units))
        turn = allowed.cumsum(0)
        chosen = (torch.rand(len(units), generator=self.generator, dtype=torch.float64) * allowed.sum(0)).long() + 1
        for way, free, rank in zip(ways, allowed, turn, strict=True):
            mine = (free & (rank == chosen)).nonzero()[:, 0]
            self._take(way, places[mine], units[mine])

    def _carries(self, way: Edge | None, units: Tensor) -> Tensor:
        """Whether a way is open to units: a part of a concatenation, taken backwards, has its own alone."""
        if self.forward or way is None or isinstance(way, WeightLayer):
            return torch.ones(len(units), dtype=torch.bool)
        return (units >= way.offset) & (units < way.offset + way.units * way.spread)

    def _take(self, way: Edge | None, places: Tensor, units: Tensor) -> None:
        if way is None:
            self.arrived[places] = True
            return
        target = way.target if self.forward else way.source
        if isinstance(way, WeightLayer):
            layer = self.layers[way.weight, way.groups]
            open_ = (layer.onward if self.forward else layer.back).open[units]
            places, units = places[open_], units[open_]
            units, entries = layer.step(units, forward=self.forward, generator=self.generator)
            self.steps.append((way, places, entries))
        elif self.forward:
            spread = torch.randint(way.spread, units.shape, generator=self.generator) if way.spread > 1 else 0
            units = way.offset + units * way.spread + spread
        else:
            units = (units - way.offset) // way.spread
        self.standing.setdefault(target, []).append((places, units))
