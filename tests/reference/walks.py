"""PHEW on a perceptron as one would write it: one walk after another, one weight after another."""

import random

import torch


def _chosen(rng: random.Random, sizes: list[float], kept: list[bool]) -> int | None:
    """An index in proportion to its size; uniform over what is kept if all are zero; None where nothing is kept."""
    weights = [size if keep else 0.0 for size, keep in zip(sizes, kept, strict=True)]
    if sum(weights) == 0:
        weights = [float(keep) for keep in kept]
    return rng.choices(range(len(weights)), weights)[0] if sum(weights) else None


def literal_walks(
    layers: list[torch.Tensor], count: int, seed: int, masks: list[torch.Tensor] | None = None
) -> list[list[tuple[int, int, int]]]:
    """The weights (layer, output, input) of each of ``count`` walks, in the order of the layers; [] if it broke off."""
    rng, found = random.Random(seed), []
    absolute = [layer.abs() for layer in layers]
    kept = masks or [torch.ones_like(layer, dtype=torch.bool) for layer in layers]
    for number in range(count):
        forward = number % 2 == 0
        places = range(len(layers)) if forward else reversed(range(len(layers)))
        unit = (number // 2) % (layers[0].shape[1] if forward else layers[-1].shape[0])
        path = []
        for place in places:
            row = absolute[place][:, unit] if forward else absolute[place][unit]
            free = kept[place][:, unit] if forward else kept[place][unit]
            choice = _chosen(rng, row.tolist(), free.tolist())
            if choice is None:
                path = []
                break
            path.append((place, choice, unit) if forward else (place, unit, choice))
            unit = choice
        found.append(sorted(path))
    return found


def literal_order(walks: list[list[tuple[int, int, int]]]) -> list[tuple[int, int, int]]:
    """The weights by their first visits."""
    return list(dict.fromkeys(weight for walk in walks for weight in walk))
