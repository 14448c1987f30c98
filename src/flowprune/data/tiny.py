"""Tiny-ImageNet from its published folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from flowprune.data.augmentation import Augment
from flowprune.data.damage import damaged
from flowprune.data.decoding import Form
from flowprune.data.files import Found
from flowprune.data.folders import in_turn
from flowprune.data.image_set import ImageSet, Normalise, Split
from flowprune.data.kept import decoded
from flowprune.data.locating import locate
from flowprune.data.normalisation import Normalisation, choose
from flowprune.data.origins import TINY
from flowprune.data.published import Use, published

TINY_IMAGENET: Final = Normalise((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821), scale=255.0)
"""Of the training images."""
CLASSES = 200
SIDE = 64

Labelled = list[tuple[Path, int]]
"""Image files and their labels."""


def _names(found: Found) -> list[str]:
    """The WordNet ids of the classes, in the order of their labels."""
    path = found.folder / "wnids.txt"
    names = path.read_text(encoding="utf-8", errors="replace").split()
    if len(names) != CLASSES or len(set(names)) != CLASSES:
        got = f"{len(names)} lines, {len(set(names))} of them different"
        raise damaged(path, f"of {CLASSES} different WordNet ids, one a line", got, found.remedy)
    return names


def _training(found: Found, names: Sequence[str]) -> Labelled:
    """The images of ``train/<id>/images``, one of each class in turn."""
    files = {name: sorted((found.folder / "train" / name / "images").glob("*.JPEG")) for name in names}
    empty = [name for name in names if not files[name]]
    if empty:
        rule, got = "a folder images/*.JPEG for each id of wnids.txt", f"none for {len(empty)}, such as {empty[0]}"
        raise damaged(found.folder / "train", rule, got, found.whole_remedy)
    return in_turn(files)


def _annotated(found: Found, names: Sequence[str]) -> Labelled:
    """The images of ``val/images`` in the order of their annotations."""
    path, images = found.folder / "val" / "val_annotations.txt", found.folder / "val" / "images"
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line]
    short = [line for line in lines if len(line) < 2]
    if short or not lines:
        raise damaged(path, "of lines: file, tab, WordNet id, ...", short[0] if short else "none", found.remedy)
    labels = {name: label for label, name in enumerate(names)}
    others = [line[1] for line in lines if line[1] not in labels]
    if others:
        got = f"{others[0]}, and {len(others) - 1} more others, in {len(lines)} lines"
        raise damaged(path, "of the ids in wnids.txt", got, found.remedy)
    there = {file.name for file in images.glob("*.JPEG")}
    differ = there.symmetric_difference(line[0] for line in lines)
    if differ or len(there) != len(lines):
        got = f"{len(lines)} lines for {len(there)} images" + (f"; {min(differ)} is in one alone" if differ else "")
        raise damaged(path, f"of one line for each image in {images}", got, found.whole_remedy)
    return [(images / line[0], labels[line[1]]) for line in lines]


def _split(pixels: np.ndarray, files: Labelled) -> Split:
    labels = torch.tensor([label for _, label in files])
    return Split(torch.from_numpy(pixels), labels, torch.arange(len(labels)))


def tiny_imagenet(
    data_dir: str | Path | None = None,
    *,
    valid: float = 0.1,
    seed: int = 0,
    train_samples: int | None = None,
    test_samples: int | None = None,
    normalisation: Normalisation = "statistics",
) -> ImageSet:
    """Tiny-ImageNet: 100,000 + 10,000 colour images of 64x64 in 200 classes, in the order of ``wnids.txt``.

    The test split is the published *validation* split, because the labels of the published test images were never
    given out; a validation split of our own comes, as for every set, from the training images.

    The images are decoded once, grey ones into three equal channels, and kept in ``.flowprune`` beside them
    (1.35 GB), if that can be written. ``indices`` count the training files of one class after the other in turn: the
    first of each class, then the second of each. Augmentation shifts by up to 4 pixels, not 8 (the same share of the
    side as for CIFAR): 4 is what the pruning literature trains with (ganguli-lab/Synaptic-Flow, ``Utils/load.py``).

    Args:
        data_dir: The folder that holds ``tiny-imagenet-200``, or that folder itself. None takes the variable
            FLOWPRUNE_DATA, else ``~/.cache/flowprune``. What is not there is downloaded there, unless the variable
            FLOWPRUNE_OFFLINE is set.
        valid: Fraction of the published training images held out.
        seed: Of the validation split and of the samples.
        train_samples: A stratified sample of the published training images, before validation is held out.
        test_samples: A stratified sample of the published validation images.
        normalisation: ``statistics``: mean and deviation of the training images. ``half``: 0.5 and 0.5 for each
            channel.

    Raises:
        FileNotFoundError: the files are not there and could not be downloaded; the message says where they should be.
        ValueError: a file is damaged, or a fraction or number cannot be had.

    Source: Le & Yang 2015, Tiny ImageNet Visual Recognition Challenge, Stanford CS 231N.
    """
    normalise = choose("tiny_imagenet(normalisation=)", normalisation, lambda: TINY_IMAGENET, 3)
    found = locate("tiny_imagenet", data_dir, (TINY,))
    names = _names(found)
    train, test = _training(found, names), _annotated(found, names)
    files = [file for file, _ in (*train, *test)]
    pixels = decoded(found.folder, files, Form(None, 3, found.whole_remedy, expected=(SIDE, SIDE)))
    use = Use(valid, seed, train_samples, test_samples, CLASSES)
    first, second = _split(pixels[: len(train)], train), _split(pixels[len(train) :], test)
    return published("tiny_imagenet", first, second, use, normalise=normalise, augment=Augment(padding=4))
