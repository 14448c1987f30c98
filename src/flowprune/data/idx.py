"""MNIST and Fashion-MNIST from their published IDX files, compressed or not."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch

from flowprune.data.augmentation import Augment
from flowprune.data.damage import damaged, require_labels
from flowprune.data.files import Found, Layout, data_root
from flowprune.data.image_set import ImageSet, Normalise, Split
from flowprune.data.locating import locate
from flowprune.data.normalisation import Normalisation, choose
from flowprune.data.origins import IDX_FILES
from flowprune.data.published import Use, published

MNIST: Final = Normalise((0.1307,), (0.3081,), scale=255.0)
FASHION: Final = Normalise((0.2860,), (0.3530,), scale=255.0)
"""Of the training images."""

FOLDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "mnist": ("mnist", "MNIST/raw", "mnist-subset"),
    "fashion_mnist": ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw"),
}
"""The sets whose files have the same names, and the folders that tell them apart."""
BEGINNINGS: Final[Mapping[str, tuple[int, ...]]] = {
    "mnist": (5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5, 3, 6, 1, 7),
    "fashion_mnist": (9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9, 5, 5, 7, 9),
}
"""The first training labels as published."""

CLASSES = 10
SIDE = 28
UNSIGNED_BYTES = 8
"""The third byte of an IDX file: the type of its entries."""


def read_idx(path: Path, axes: int, remedy: str) -> np.ndarray:
    """The bytes of an IDX file, or of ``path.gz`` where only that is there, in the shape its header names.

    Raises:
        ValueError: not an IDX file of unsigned bytes with so many axes, cut off, or longer than its header says.
    """
    path = path if path.exists() else path.with_name(f"{path.name}.gz")
    raw, start = _bytes(path, remedy), 4 + 4 * axes
    if raw[:4] != bytes((0, 0, UNSIGNED_BYTES, axes)) or len(raw) < start:
        raise damaged(path, f"an IDX file of unsigned bytes with {axes} axes", raw[:4].hex(), remedy)
    shape = tuple(np.frombuffer(raw, ">u4", count=axes, offset=4).tolist())
    body = np.frombuffer(raw, np.uint8, offset=start)
    if body.size != np.prod(shape, dtype=object):
        raise damaged(path, f"of the shape {shape} that its header names", f"{body.size} entries", remedy)
    return body.reshape(shape).copy()


def _bytes(path: Path, remedy: str) -> bytes:
    raw = path.read_bytes()
    if path.suffix != ".gz":
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, "whole and compressed by gzip", str(error), remedy) from error


def _split(found: Found, images: str, labels: str) -> Split:
    pixels = read_idx(found.folder / images, 3, found.remedy)
    if pixels.shape[1:] != (SIDE, SIDE):
        raise damaged(found.folder / images, f"of images of {SIDE}x{SIDE}", pixels.shape, found.remedy)
    given = read_idx(found.folder / labels, 1, found.remedy)
    if len(given) != len(pixels):
        rule = f"of one label for each of the {len(pixels)} images in {images}"
        raise damaged(found.folder / labels, rule, f"{len(given)} labels", found.remedy)
    whole = require_labels(found.folder / labels, given, CLASSES, found.remedy)
    return Split(torch.from_numpy(pixels).unsqueeze(1), torch.from_numpy(whole), torch.arange(len(whole)))


def _layout(name: str, root: Path) -> Layout:
    """The set's own folders, and the data folder itself unless that has the name of another set's folder."""
    place = f"/{root.absolute().as_posix().strip('/')}"
    others = [folder for other, folders in FOLDERS.items() if other != name for folder in folders]
    itself = () if any(place.endswith(f"/{folder}") for folder in others) else (".",)
    return Layout((*FOLDERS[name], *itself), IDX_FILES, packable=True)


def _require_own(found: Found, labels: torch.Tensor) -> None:
    """Raise where the labels begin as another set's do."""
    for other, beginning in BEGINNINGS.items():
        if other != found.name and tuple(labels[: len(beginning)].tolist()) == beginning:
            todo = f"Put each set into a folder of its own: {FOLDERS[found.name][0]}, {FOLDERS[other][0]}."
            raise damaged(found.folder / IDX_FILES[1], f"of {found.name}", f"the labels of {other}", todo)


def _read(name: str, data_dir: str | Path | None, use: Use, *, normalise: Normalise, augment: Augment) -> ImageSet:
    found = locate(name, data_dir, (_layout(name, data_root(data_dir)),))
    train, test = _split(found, *IDX_FILES[:2]), _split(found, *IDX_FILES[2:])
    _require_own(found, train.labels)
    return published(name, train, test, use, normalise=normalise, augment=augment)


def mnist(
    data_dir: str | Path | None = None,
    *,
    valid: float = 0.1,
    seed: int = 0,
    train_samples: int | None = None,
    test_samples: int | None = None,
    normalisation: Normalisation = "statistics",
) -> ImageSet:
    """MNIST: 60,000 + 10,000 grey images of 28x28 in 10 classes.

    The files of Fashion-MNIST have the same names. The folders ``mnist``, ``MNIST/raw`` and ``mnist-subset`` are
    this set's; in ``data_dir`` itself the files are taken for this set unless that folder has a name of the other's
    (``fashion-mnist``, ``fashion_mnist``, ``FashionMNIST/raw``). Wherever they lie, training labels that begin as
    the other set's published ones are refused; a re-ordered sample of it could not be told.

    Args:
        data_dir: The folder that holds one of these folders, or the four files. None takes the variable
            FLOWPRUNE_DATA, else ``~/.cache/flowprune``. What is not there is downloaded there, unless the variable
            FLOWPRUNE_OFFLINE is set.
        valid: Fraction of the published training images held out.
        seed: Of the validation split and of the samples.
        train_samples: A stratified sample of the published training images, before validation is held out.
        test_samples: A stratified sample of the published test images.
        normalisation: ``statistics``: mean and deviation of the training images. ``half``: 0.5 and 0.5.

    Raises:
        FileNotFoundError: the files are not there and could not be downloaded; the message says where they should be.
        ValueError: a file is damaged or of the other set, or a fraction or number cannot be had.

    Source: LeCun, Cortes & Burges 1998, The MNIST database of handwritten digits.
    """
    normalise = choose("mnist(normalisation=)", normalisation, lambda: MNIST, 1)
    use = Use(valid, seed, train_samples, test_samples, CLASSES)
    return _read("mnist", data_dir, use, normalise=normalise, augment=Augment(padding=2, flip=False))


def fashion_mnist(
    data_dir: str | Path | None = None,
    *,
    valid: float = 0.1,
    seed: int = 0,
    train_samples: int | None = None,
    test_samples: int | None = None,
    normalisation: Normalisation = "statistics",
) -> ImageSet:
    """Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28x28, in 10 classes.

    The folders are ``fashion-mnist``, ``fashion_mnist``, ``FashionMNIST/raw`` and ``data_dir`` itself. All else is as
    for :func:`mnist`, with the two sets exchanged; training images are mirrored too, as a mirrored shoe is a shoe.

    Args:
        data_dir: As for :func:`mnist`.
        valid: As for :func:`mnist`.
        seed: As for :func:`mnist`.
        train_samples: As for :func:`mnist`.
        test_samples: As for :func:`mnist`.
        normalisation: As for :func:`mnist`.

    Source: Xiao, Rasul & Vollgraf 2017, Fashion-MNIST, arXiv 1708.07747.
    """
    normalise = choose("fashion_mnist(normalisation=)", normalisation, lambda: FASHION, 1)
    use = Use(valid, seed, train_samples, test_samples, CLASSES)
    return _read("fashion_mnist", data_dir, use, normalise=normalise, augment=Augment(padding=2))
