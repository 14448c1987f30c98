"""The sample of training images that importance is measured on."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.core.seeds import stream
from flowprune.data.batching import Batches, batches
from flowprune.data.image_set import ImageSet


def _balanced(labels: Tensor, per_class: int, classes: int, shuffled: Tensor) -> Tensor:
    available = torch.bincount(labels, minlength=classes)
    if int(available.min()) < per_class:
        rarest = int(available.argmin())
        rule = f"at most {int(available[rarest])} times the {classes} classes, as class {rarest} has no more images"
        todo = "Ask for fewer, or pass class_balanced=False."
        raise invalid("scoring_batches(samples=)", rule, per_class * classes, todo)
    return torch.cat([shuffled[labels[shuffled] == label][:per_class] for label in range(classes)])


def scoring_batches(
    dataset: ImageSet,
    samples: int = 2560,
    *,
    batch: int = 128,
    seed: int = 0,
    augment: bool = False,
    class_balanced: bool = False,
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

    Raises:
        ValueError: fewer than one sample, more than the training split has, or a class with too few images.

    Example:
        >>> from flowprune.data.gaussian import gaussians
        >>> data = scoring_batches(gaussians(num_classes=4), samples=10, batch=8, class_balanced=True)
        >>> torch.bincount(data.labels).tolist(), [len(labels) for _, labels in data]
        ([3, 3, 3, 3], [8, 4])
    """
    train = dataset.train
    if not 1 <= samples <= len(train):
        raise invalid("scoring_batches(samples=)", f"between 1 and the {len(train)} training images", samples)
    labels = train.labels.cpu()
    shuffled = torch.randperm(len(labels), generator=stream(seed, "scoring"))
    if class_balanced:
        per_class = -(-samples // dataset.num_classes)
        chosen = _balanced(labels, per_class, dataset.num_classes, shuffled)
        chosen = chosen[torch.randperm(len(chosen), generator=stream(seed, "scoring", "order"))]
    else:
        chosen = shuffled[:samples]
    sample = train.pick(chosen.to(train.labels.device))
    own = dataset.augment if augment else None
    made = batches(sample.images, sample.labels, batch=batch, seed=seed, augment=own, normalise=dataset.normalise)
    return replace(made, indices=sample.indices)
