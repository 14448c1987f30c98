"""A published data set, with its own train and test images: what of it is used, and what is held out."""

from __future__ import annotations

from dataclasses import dataclass

from flowprune.data.augmentation import Augment
from flowprune.data.image_set import ImageSet, Normalise, Split
from flowprune.data.splitting import assemble, fewer, hold_out


@dataclass(frozen=True)
class Use:
    """How much of a published set is used.

    Attributes:
        valid: Fraction of the published training images held out.
        seed: Of the validation split and of the samples.
        train_samples: A stratified sample of the published training images, before validation is held out.
        test_samples: A stratified sample of the published test images.
        classes: How many there are, also where a sample does not show them all.
    """

    valid: float
    seed: int
    train_samples: int | None
    test_samples: int | None
    classes: int


def published(
    name: str,
    train: Split,
    test: Split,
    use: Use,
    *,
    normalise: Normalise,
    augment: Augment,
    valid: Split | None = None,
) -> ImageSet:
    """The set as it is used: validation is its own or carved from the training images, never from the test images.

    Raises:
        ValueError: more samples than there are, or nothing left to train or test on.
    """
    train = fewer(f"{name}(train_samples=)", train, use.train_samples, seed=use.seed, purpose="train_samples")
    test = fewer(f"{name}(test_samples=)", test, use.test_samples, seed=use.seed, purpose="test_samples")
    if valid is None:
        train, valid = hold_out(f"{name}(valid=)", train, use.valid, seed=use.seed, purpose="valid")
    return assemble(name, train, valid, test=test, normalise=normalise, augment=augment, classes=use.classes)
