"""A network as a graph: vertices are values with units, edges are the layers of weights and the wires between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Wire:
    """An edge without weights: unit u of the source is one of the units from ``offset + u * spread`` of the target.

    A summand has offset 0 and spread 1; a part of a concatenation has an offset; a channel that is flattened is spread
    over its positions.

    Attributes:
        source: Vertex.
        target: Vertex.
        units: Of the source.
        offset: Of the first unit in the target.
        spread: How many units of the target are one of the source.
    """

    source: int
    target: int
    units: int
    offset: int = 0
    spread: int = 1


@dataclass(frozen=True)
class WeightLayer:
    """An edge of weights, ``(out, in / groups, *kernel)``: every output of a group reads every input of it.

    Attributes:
        source: Vertex of the inputs.
        target: Vertex of the outputs.
        weight: Name of the parameter.
        groups: Of a convolution; 1 for a linear layer.
    """

    source: int
    target: int
    weight: str
    groups: int = 1


Edge: TypeAlias = Wire | WeightLayer


@dataclass(frozen=True)
class PathGraph:
    """Vertices 0, 1, ... in the order of execution, so that an edge always leads to a higher number.

    Attributes:
        sizes: The number of units of each vertex.
        edges: By their targets, in order.
        inputs: The vertices where paths begin.
        outputs: The vertices where paths end; paths may as well go on from them.

    Example:
        >>> graph = PathGraph((3, 2), (WeightLayer(0, 1, "weight"),), (0,), (1,))
        >>> graph.weights
        ('weight',)
    """

    sizes: tuple[int, ...]
    edges: tuple[Edge, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def layers(self) -> tuple[WeightLayer, ...]:
        """The edges that have weights, in order; a tied weight is in as many as use it."""
        return tuple(edge for edge in self.edges if isinstance(edge, WeightLayer))

    @property
    def weights(self) -> tuple[str, ...]:
        """The names of the weights, each once."""
        return tuple(dict.fromkeys(layer.weight for layer in self.layers))


def trimmed(sizes: Iterable[int], edges: Iterable[Edge], inputs: Iterable[int], outputs: Iterable[int]) -> PathGraph:
    """The graph without edges that lead to no output: a walk must not choose what nothing reads.

    Example:
        >>> trimmed((1, 1, 1), (WeightLayer(0, 1, "used"), WeightLayer(0, 2, "unused")), (0,), (1,)).weights
        ('used',)
    """
    every, ends = list(edges), tuple(dict.fromkeys(outputs))
    leading = set(ends)
    for edge in reversed(every):
        if edge.target in leading:
            leading.add(edge.source)
    kept = tuple(edge for edge in every if edge.target in leading)
    return PathGraph(tuple(sizes), kept, tuple(vertex for vertex in inputs if vertex in leading), ends)
