"""Stratified random splits."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.core.seeds import stream
from flowprune.data.augmentation import Augment
from flowprune.data.image_set import ImageSet, Normalise, Split, content_fingerprint


def shares(sizes: Tensor, total: int) -> Tensor:
    """Whole numbers proportional to ``sizes`` that add up to ``total``: largest remainders, ties to the first.

    Shapes: int64 (classes,) -> int64 (classes,).

    Example:
        >>> shares(torch.tensor([5, 5, 2]), 6)
        tensor([3, 2, 1])
    """
    exact = sizes.double() * total / int(sizes.sum())
    whole = exact.floor().long()
    order = torch.argsort(whole - exact, stable=True)
    whole[order[: total - int(whole.sum())]] += 1
    return whole


def stratified(labels: Tensor, count: int, *, seed: int, purpose: str) -> Tensor:
    """Increasing positions of ``count`` examples, from each class its share, drawn from ``derive(seed, purpose)``.

    Shapes: int64 (n,) -> int64 (count,).

    Raises:
        ValueError: fewer than 0 or more than all examples.

    Example:
        >>> chosen = stratified(torch.tensor([0, 0, 1, 1]), 2, seed=0, purpose="test")
        >>> torch.tensor([0, 0, 1, 1])[chosen]
        tensor([0, 1])
    """
    if not 0 <= count <= len(labels):
        raise invalid("stratified(count=)", f"between 0 and the {len(labels)} examples there are", count)
    generator = stream(seed, purpose)
    shuffled = torch.randperm(len(labels), generator=generator)
    sizes = torch.bincount(labels)
    parts = [shuffled[labels[shuffled] == label][:share] for label, share in enumerate(shares(sizes, count).tolist())]
    return torch.cat(parts).sort().values


def without(n: int, taken: Tensor) -> Tensor:
    """Increasing positions below ``n`` that were not taken.

    Example:
        >>> without(4, torch.tensor([1, 2]))
        tensor([0, 3])
    """
    left = torch.ones(n, dtype=torch.bool)
    left[taken] = False
    return left.nonzero().flatten()


def hold_out(where: str, split: Split, fraction: float, *, seed: int, purpose: str) -> tuple[Split, Split]:
    """What is left, and a stratified part of ``fraction``, drawn from ``derive(seed, purpose)``; of 0, none is held.

    Raises:
        ValueError: the fraction is outside [0, 1), or a part would be empty.

    Example:
        >>> split = Split(torch.zeros(4, 1, 1, 1), torch.tensor([0, 0, 1, 1]), torch.arange(4))
        >>> rest, held = hold_out("digits(test=)", split, 0.5, seed=0, purpose="test")
        >>> rest.labels, held.labels
        (tensor([0, 1]), tensor([0, 1]))
    """
    if not 0 <= fraction < 1:
        raise invalid(where, "a fraction in [0, 1)", fraction)
    count = round(fraction * len(split))
    if fraction and not 0 < count < len(split):
        rule = "a fraction that leaves at least one example on either side"
        raise invalid(where, rule, f"{fraction} of {len(split)}, which is {count}")
    held = stratified(split.labels, count, seed=seed, purpose=purpose)
    return split.pick(without(len(split), held)), split.pick(held)


def fewer(where: str, split: Split, count: int | None, *, seed: int, purpose: str) -> Split:
    """A stratified sample of a split, or the whole where ``count`` is None.

    Raises:
        ValueError: no whole number, none at all, or more than there are; ``where`` names it.

    Example:
        >>> split = Split(torch.zeros(4, 1, 1, 1), torch.tensor([0, 0, 1, 1]), torch.arange(4))
        >>> fewer("digits(test_samples=)", split, 2, seed=0, purpose="test_samples").labels
        tensor([0, 1])
    """
    if count is None:
        return split
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= len(split):
        raise invalid(where, f"a whole number from 1 to the {len(split)} images there are", count)
    return split.pick(stratified(split.labels, count, seed=seed, purpose=purpose))


def assemble(
    name: str,
    train: Split,
    valid: Split,
    *,
    test: Split,
    normalise: Normalise,
    augment: Augment | None,
    classes: int | None = None,
) -> ImageSet:
    """A dataset of three splits, with its fingerprint and, where ``classes`` is None, their number read from them.

    Raises:
        ValueError: nothing is left to train or to test on.

    Example:
        >>> split = Split(torch.zeros(4, 1, 1, 1), torch.tensor([0, 0, 1, 1]), torch.arange(4))
        >>> norm = Normalise((0.0,), (1.0,))
        >>> assemble("toy", split, split, test=split, normalise=norm, augment=None).num_classes
        2
    """
    if not (len(train) and len(test)):
        sizes = {"train": len(train), "valid": len(valid), "test": len(test)}
        raise invalid(f"{name}()", "given splits that leave at least one example to train and one to test", sizes)
    count = classes or 1 + max(int(split.labels.max()) for split in (train, test))
    return ImageSet(name, count, train, valid, test, normalise, augment, content_fingerprint(train, valid, test))
