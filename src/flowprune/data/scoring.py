"""The sample of training images that importance is measured on."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from flowprune.core.errors import invalid, unknown
from flowprune.core.seeds import stream
from flowprune.data.batching import Batches, batches
from flowprune.data.image_set import ImageSet

Short = Literal["refuse", "take"]
"""What to do about a class, or a split, that has fewer images than are wanted."""


def _all_of(labels: Tensor, samples: int, short: Short) -> int:
    """How many to draw without regard to classes."""
    if samples > len(labels) and short == "refuse":
        rule = f"between 1 and the {len(labels)} training images"
        raise invalid("scoring_batches(samples=)", rule, samples)
    if samples > len(labels):
        warnings.warn(f"scoring_batches() takes all {len(labels)} training images, {samples} wanted.", stacklevel=3)
    return min(samples, len(labels))


def _balanced(labels: Tensor, samples: int, classes: int, shuffled: Tensor, short: Short) -> Tensor:
    """The first so many of each class in shuffled order, class by class."""
    wanted = -(-samples // classes)
    available = torch.bincount(labels, minlength=classes)
    few = {label: int(available[label]) for label in (available < wanted).nonzero().flatten().tolist()}
    if few and short == "refuse":
        rarest = min(few, key=few.__getitem__)
        rule = f"at most {few[rarest]} times the {classes} classes, as class {rarest} has no more images"
        todo = "Ask for fewer, pass short='take' to take what there is, or pass class_balanced=False."
        raise invalid("scoring_batches(samples=)", rule, wanted * classes, todo)
    if few:
        said = ", ".join(f"class {label} has {count}" for label, count in few.items())
        warnings.warn(
            f"scoring_batches() takes all there is of {len(few)} classes, {wanted} wanted: {said}.", stacklevel=3
        )
    return torch.cat([shuffled[labels[shuffled] == label][:wanted] for label in range(classes)])


def scoring_batches(
    dataset: ImageSet,
    samples: int = 2560,
    *,
    batch: int = 128,
    seed: int = 0,
    augment: bool = False,
    class_balanced: bool = False,
    short: Short = "refuse",
) -> Batches:
    """A fixed random sample of the training split, in batches that are the same at every pass.

    The sample is drawn without repeats from ``derive(seed, "scoring")``, its order is random and never by class,
    and ``indices`` records which images of the source it holds. With ``augment``, every pass sees the same
    augmented images, so that a gradient and a Hessian-gradient product belong to the same loss.

    Args:
        dataset: Only its training split is read.
        samples: How many images.
        batch: Images in a batch; the last one may be smaller.
        seed: Of the sample.
        augment: Whether the dataset's own augmentation is applied.
        class_balanced: Equally many of each class, ``ceil(samples / num_classes)``, so at least ``samples``.
        short: ``refuse`` raises where a class, or the split, has fewer images than that; ``take`` takes what there
            is of it, and warns.

    Raises:
        ValueError: fewer than one sample or, unless ``short`` is ``take``, more than the training split has or a class
            with too few images; the message says how many there are.

    Example:
        >>> from flowprune.data.gaussian import gaussians
        >>> data = scoring_batches(gaussians(num_classes=4), samples=10, batch=8, class_balanced=True)
        >>> torch.bincount(data.labels).tolist(), [len(labels) for _, labels in data]
        ([3, 3, 3, 3], [8, 4])
    """
    train = dataset.train
    if samples < 1:
        raise invalid("scoring_batches(samples=)", f"between 1 and the {len(train)} training images", samples)
    if short not in get_args(Short):
        raise unknown("scoring_batches(short=)", short, get_args(Short))
    labels = train.labels.cpu()
    shuffled = torch.randperm(len(labels), generator=stream(seed, "scoring"))
    if class_balanced:
        chosen = _balanced(labels, samples, dataset.num_classes, shuffled, short)
        chosen = chosen[torch.randperm(len(chosen), generator=stream(seed, "scoring", "order"))]
    else:
        chosen = shuffled[: _all_of(labels, samples, short)]
    sample = train.pick(chosen.to(train.labels.device))
    own = dataset.augment if augment else None
    made = batches(sample.images, sample.labels, batch=batch, seed=seed, augment=own, normalise=dataset.normalise)
    return replace(made, indices=sample.indices)
