"""Images of one's own, in a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from flowprune.core.errors import invalid
from flowprune.data.augmentation import Augment
from flowprune.data.decoding import Form, suffixes
from flowprune.data.files import data_root
from flowprune.data.image_set import ImageSet, Split
from flowprune.data.kept import decoded
from flowprune.data.normalisation import Normalisation, choose, measured
from flowprune.data.published import Use, published

T = TypeVar("T")


def in_turn(files: Mapping[str, Sequence[T]]) -> list[tuple[T, int]]:
    """The first of each class, the second of each, and so on; each with the number of its class.

    A fixed order that mixes the classes: no slice of it is of one class alone.

    Example:
        >>> in_turn({"cat": ["a", "b"], "dog": ["c"]})
        [('a', 0), ('c', 1), ('b', 0)]
    """
    longest = max(map(len, files.values()), default=0)
    return [
        (own[turn], label) for turn in range(longest) for label, own in enumerate(files.values()) if turn < len(own)
    ]


def images_of(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class, classes and files sorted by name; hidden files and folders are passed over.

    Raises:
        ValueError: there is no class, a class without an image, or an image that lies outside the classes.
    """
    endings = suffixes()
    seen = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    loose = [path.name for path in seen if path.suffix.lower() in endings and path.is_file()]
    if loose:
        raise invalid(f"the folder {folder}", "of one folder for each class", f"the image {loose[0]} in it")
    classes = [path for path in seen if path.is_dir()]
    found = {path.name: [file for file in _files(path) if file.suffix.lower() in endings] for path in classes}
    empty = [name for name, files in found.items() if not files]
    if empty or not found:
        got = f"none in {', '.join(empty[:5])}" if empty else "no folder"
        raise invalid(f"the folder {folder}", "of one folder with images for each class", got)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _folders(root: Path, *, own: bool) -> dict[str, Path]:
    """The folder of each split; ``valid`` is among them only where it is there besides and ``own`` asks for it.

    Raises:
        FileNotFoundError: there is nothing to train or to test on.
    """
    there = [name for name in ("train", "test", "val") if (root / name).is_dir()]
    if there[:1] != ["train"] or len(there) < 2:
        raise FileNotFoundError(
            "image_folder(data_dir=) must find the folders train/, and test/ or val/, each with one folder of images "
            f"for each class; found {', '.join(there) or 'neither'} in {root}. They are never downloaded."
        )
    names = {"train": "train", "test": there[1], **({"valid": "val"} if own and len(there) == 3 else {})}
    return {split: root / name for split, name in names.items()}


def _require_same_classes(train: Mapping[str, object], other: Mapping[str, object], folder: Path) -> None:
    """Raise where another split has not the classes of the training split, naming the difference."""
    differences = {"without": sorted(train.keys() - other.keys()), "besides": sorted(other.keys() - train.keys())}
    said = [
        f"{word} {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for word, names in differences.items()
        if names
    ]
    if said:
        raise invalid(f"the folder {folder}", f"of the {len(train)} classes of train/", "; ".join(said))


def _splits(root: Path, labelled: Mapping[str, list[tuple[Path, int]]], size: int | None) -> dict[str, Split]:
    """The images of each split, decoded together so that all have the same form."""
    files = [file for split in labelled.values() for file, _ in split]
    rest, splits = decoded(root, files, Form(size, None, "Replace or remove it.")), dict[str, Split]()
    for name, split in labelled.items():
        labels = torch.tensor([label for _, label in split])
        splits[name] = Split(torch.from_numpy(rest[: len(split)]), labels, torch.arange(len(split)))
        rest = rest[len(split) :]
    return splits


def image_folder(
    data_dir: str | Path | None = None,
    *,
    folder: str | None = None,
    size: int | None = None,
    valid: float | None = None,
    seed: int = 0,
    train_samples: int | None = None,
    test_samples: int | None = None,
    normalisation: Normalisation = "statistics",
) -> ImageSet:
    """Images in ``train/<class>/`` and in ``test/<class>/`` or ``val/<class>/``, at any depth below.

    Classes are the folders, sorted by name. The test split is ``test/`` or, where there is none, ``val/``; where there
    are both, ``val/`` is the validation split. Images are of three channels, or of one where all are grey. They are
    decoded once and kept in ``.flowprune`` beside them, if that can be written. ``indices`` count the files of one
    class after the other in turn: the first of each class, then the second of each. Augmentation mirrors, and shifts
    by up to an eighth of the shorter side, as for CIFAR; for images that must not be mirrored, replace it:
    ``dataclasses.replace(dataset, augment=fp.data.Augment(padding=4, flip=False))``.

    Args:
        data_dir: The data folder; None takes the variable FLOWPRUNE_DATA, else ``~/.cache/flowprune``.
        folder: The folder below it that holds ``train``; None if that is the data folder itself.
        size: Scale the shorter side to it and cut out the middle square. None keeps the images as they are, and
            then all must be of one size.
        valid: Fraction of the training images held out. None holds out 0.1 or, where there are both ``test`` and
            ``val``, none, and takes ``val``.
        seed: Of the validation split and of the samples.
        train_samples: A stratified sample of the training images, before validation is held out.
        test_samples: A stratified sample of the test images.
        normalisation: ``statistics``: mean and deviation measured on all images in ``train``. ``half``: 0.5 and 0.5
            for each channel.

    Raises:
        FileNotFoundError: no such folders.
        ValueError: the splits differ in their classes, a class has no image, a file is no image of eight bits a
            channel or is damaged, or the images have several sizes and ``size`` is None.
    """
    if size is not None and size < 1:
        raise invalid("image_folder(size=)", ">= 1, or None", size)
    root = data_root(data_dir) / (folder or ".")
    places = _folders(root, own=valid is None)
    found = {split: images_of(place) for split, place in places.items()}
    for split, place in places.items():
        _require_same_classes(found["train"], found[split], place)
    splits = _splits(root, {split: in_turn(files) for split, files in found.items()}, size)
    train = splits["train"].images
    normalise = choose(
        "image_folder(normalisation=)",
        normalisation,
        lambda: measured("image_folder()", train.numpy()),
        train.shape[1],
    )
    return published(
        "image_folder",
        splits["train"],
        splits["test"],
        Use(0.1 if valid is None else valid, seed, train_samples, test_samples, len(found["train"])),
        normalise=normalise,
        augment=Augment(padding=min(train.shape[2:]) // 8),
        valid=splits.get("valid"),
    )
