"""Which weights are on a path, by looking at every connection there is."""

from itertools import product

import torch

Edge = tuple[object, object, str | None, tuple[int, ...]]
"""From a node, to a node, through an entry of a mask by name; without a name it is always there."""


def literal_paths(
    edges: list[Edge], masks: dict[str, torch.Tensor], inputs: set, outputs: set
) -> dict[str, torch.Tensor]:
    """The kept entries that some edge uses between what the inputs reach and what reaches the outputs."""
    kept = [edge for edge in edges if edge[2] is None or bool(masks[edge[2]][edge[3]])]
    reached, reaching = set(inputs), set(outputs)
    while True:
        before = len(reached) + len(reaching)
        reached |= {end for start, end, _, _ in kept if start in reached}
        reaching |= {start for start, end, _, _ in kept if end in reaching}
        if len(reached) + len(reaching) == before:
            break
    result = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for start, end, name, entry in kept:
        if name is not None and start in reached and end in reaching:
            result[name][entry] = True
    return result


def linear_edges(name: str, layer: int, outputs: int, inputs: int) -> list[Edge]:
    """Nodes are (layer, unit)."""
    return [((layer, i), (layer + 1, o), name, (o, i)) for o, i in product(range(outputs), range(inputs))]


def convolution_edges(
    name: str, layer: int, shape: tuple[int, int, int, int], size: int, *, stride: int = 1, padding: int = 0
) -> list[Edge]:
    """Nodes are (layer, channel, row, column); a weight has an edge for every position at which it is used."""
    out_channels, in_channels, height, width = shape
    edges: list[Edge] = []
    after = (size + 2 * padding - height) // stride + 1
    for o, i, dy, dx in product(range(out_channels), range(in_channels), range(height), range(width)):
        for y, x in product(range(after), range(after)):
            row, column = y * stride + dy - padding, x * stride + dx - padding
            if 0 <= row < size and 0 <= column < size:
                edges.append(((layer, i, row, column), (layer + 1, o, y, x), name, (o, i, dy, dx)))
    return edges


def pooling_edges(layer: int, channels: int, size: int, window: int) -> list[Edge]:
    """Every position of a window leads to its result."""
    places = product(range(channels), range(size), range(size))
    return [((layer, c, y, x), (layer + 1, c, y // window, x // window), None, ()) for c, y, x in places]
