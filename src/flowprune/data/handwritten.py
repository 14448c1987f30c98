"""scikit-learn's 8x8 digits: real images that come with a package."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from flowprune.data.augmentation import Augment
from flowprune.data.image_set import ImageSet, Normalise, Split
from flowprune.data.splitting import assemble, hold_out

MEAN, STD = 0.3053, 0.3760
"""Of all 1,797 images, with pixels from 0 to 1."""


def digits(*, test: float = 0.2, valid: float = 0.125, seed: int = 0) -> ImageSet:
    """1,797 grey 8x8 images of handwritten digits: 1,258 for training, 180 for validation, 359 for testing.

    The pixels are whole numbers from 0 to 16 and are kept so. Splits are stratified.

    Args:
        test: Fraction of all images.
        valid: Fraction of the others.
        seed: Of the splits.

    Source: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits; the test part, as in scikit-learn.

    Example:
        >>> dataset = digits()
        >>> len(dataset.train), len(dataset.valid), len(dataset.test), dataset.shape
        (1258, 180, 359, (1, 8, 8))
    """
    rows, target = load_digits(return_X_y=True)
    images = torch.from_numpy(rows).to(torch.uint8).view(-1, 1, 8, 8)
    labels = torch.from_numpy(target).to(torch.int64)
    whole = Split(images, labels, torch.arange(len(labels)))
    rest, tested = hold_out("digits(test=)", whole, test, seed=seed, purpose="test")
    train, validation = hold_out("digits(valid=)", rest, valid, seed=seed, purpose="valid")
    return assemble(
        "digits",
        train,
        validation,
        test=tested,
        normalise=Normalise((MEAN,), (STD,), scale=16.0),
        augment=Augment(padding=1, flip=False),
    )
