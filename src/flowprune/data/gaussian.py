"""Gaussian clouds: a classification problem of any size and difficulty, without a file."""

from __future__ import annotations

import torch

from flowprune.core.errors import invalid
from flowprune.core.seeds import stream
from flowprune.data.image_set import ImageSet, Normalise, Split
from flowprune.data.splitting import assemble, hold_out


def gaussians(
    samples: int = 1000,
    num_classes: int = 4,
    *,
    shape: tuple[int, int, int] = (1, 8, 8),
    separation: float = 6.0,
    test: float = 0.2,
    seed: int = 0,
) -> ImageSet:
    """One Gaussian cloud per class, around centres at distance ``separation`` from the origin.

    Formula: x = separation * u_class + noise, u a random unit vector, noise of unit variance in each entry.

    Shapes: float32 images of ``shape`` = (channels, height, width); one eighth of the training part is validation.

    Raises:
        ValueError: fewer than two classes, or fewer samples than classes.

    Example:
        >>> dataset = gaussians(samples=100, num_classes=2)
        >>> len(dataset.train), len(dataset.valid), len(dataset.test)
        (70, 10, 20)
    """
    if num_classes < 2 or samples < num_classes:
        raise invalid("gaussians(num_classes=)", "at least 2 and at most the samples", (num_classes, samples))
    generator = stream(seed, "gaussians")
    centres = torch.randn(num_classes, *shape, generator=generator)
    centres *= separation / centres.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    labels = torch.arange(samples)[torch.randperm(samples, generator=generator)] % num_classes
    images = centres[labels] + torch.randn(samples, *shape, generator=generator)
    whole = Split(images, labels, torch.arange(samples))
    rest, tested = hold_out("gaussians(test=)", whole, test, seed=seed, purpose="test")
    train, validation = hold_out("gaussians()", rest, 0.125, seed=seed, purpose="valid")
    return assemble(
        "gaussians",
        train,
        validation,
        test=tested,
        normalise=Normalise((0.0,) * shape[0], (1.0,) * shape[0]),
        augment=None,
    )
