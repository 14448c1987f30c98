"""CIFAR-10 and CIFAR-100, from the published "python version" or the "binary version"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch

from flowprune.core.errors import unknown
from flowprune.data.augmentation import Augment
from flowprune.data.damage import damaged, require_labels
from flowprune.data.files import Found, Layout
from flowprune.data.image_set import ImageSet, Normalise, Split
from flowprune.data.locating import locate
from flowprune.data.normalisation import Normalisation, choose
from flowprune.data.origins import CIFAR10_PYTHON, CIFAR100_PYTHON
from flowprune.data.pickled import read_arrays
from flowprune.data.published import Use, published

CIFAR10: Final = Normalise((0.49140, 0.48216, 0.44653), (0.24703, 0.24349, 0.26159), scale=255.0)
CIFAR100: Final = Normalise((0.50708, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615), scale=255.0)
"""Of the training images."""

CIFAR10_BINARY: Final = Layout(
    ("cifar-10-batches-bin", "."), (*(f"data_batch_{part}.bin" for part in range(1, 6)), "test_batch.bin")
)
CIFAR100_BINARY: Final = Layout(("cifar-100-binary", "."), ("train.bin", "test.bin"))

PIXELS: Final = 3 * 32 * 32
CLASSES: Final[Mapping[str, int]] = {"labels": 10, "fine_labels": 100, "coarse_labels": 20}
"""Of each kind of labels."""
LABEL_BYTES: Final[Mapping[str, tuple[int, int]]] = {
    "labels": (0, 1),
    "fine_labels": (1, 2),
    "coarse_labels": (0, 2),
}
"""Which byte of a binary record holds the label, and how many labels stand before the pixels."""

Read = Callable[[Path, str, str], tuple[np.ndarray, np.ndarray]]
"""(file, kind of labels, remedy) -> bytes (n, 3072) and whole numbers (n,)."""


def read_python(path: Path, kind: str, remedy: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels of one pickled dictionary.

    Raises:
        ValueError: damaged, without pixels or labels, or with unequally many.
    """
    fields = read_arrays(path, remedy)
    if kind not in fields or "data" not in fields:
        raise damaged(path, f"a dictionary with data and {kind}", sorted(fields), remedy)
    images, labels = (np.asarray(fields[name]) for name in ("data", kind))
    if images.dtype != np.uint8 or images.ndim < 2 or images[:1].size != PIXELS:
        raise damaged(path, f"of images of {PIXELS} bytes", f"{images.dtype} {images.shape}", remedy)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        got = f"{labels.dtype} {labels.shape} for {len(images)} images"
        raise damaged(path, f"of one whole number for each image in {kind}", got, remedy)
    return images, labels


def read_binary(path: Path, kind: str, remedy: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels of one file of records: the label, or the coarse and the fine one, and then the pixels.

    Raises:
        ValueError: the file does not end with a record.
    """
    place, before = LABEL_BYTES[kind]
    content, record = np.fromfile(path, np.uint8), before + PIXELS
    if len(content) == 0 or len(content) % record:
        raise damaged(path, f"of whole records of {record} bytes", f"{len(content)} bytes", remedy)
    records = content.reshape(-1, record)
    return records[:, before:], records[:, place]


READERS: Final[Mapping[Layout, Read]] = {
    CIFAR10_PYTHON: read_python,
    CIFAR10_BINARY: read_binary,
    CIFAR100_PYTHON: read_python,
    CIFAR100_BINARY: read_binary,
}


def _splits(found: Found, kind: str) -> tuple[Split, Split]:
    """The training images of all files but the last, and the test images of the last."""
    *train, test = (found.folder / file for file in found.layout.files)
    return _split(found, train, kind), _split(found, [test], kind)


def _split(found: Found, files: Sequence[Path], kind: str) -> Split:
    parts = [READERS[found.layout](file, kind, found.remedy) for file in files]
    images = np.concatenate([images.reshape(-1, 3, 32, 32) for images, _ in parts])
    labels = np.concatenate(
        [
            require_labels(file, labels, CLASSES[kind], found.remedy)
            for file, (_, labels) in zip(files, parts, strict=True)
        ]
    )
    return Split(torch.from_numpy(images), torch.from_numpy(labels), torch.arange(len(labels)))


def cifar10(
    data_dir: str | Path | None = None,
    *,
    valid: float = 0.1,
    seed: int = 0,
    train_samples: int | None = None,
    test_samples: int | None = None,
    normalisation: Normalisation = "statistics",
) -> ImageSet:
    """CIFAR-10: 50,000 + 10,000 colour images of 32x32 in 10 classes.

    Args:
        data_dir: The folder that holds ``cifar-10-batches-py`` or ``cifar-10-batches-bin``, or that folder itself.
            None takes the variable FLOWPRUNE_DATA, else ``~/.cache/flowprune``. What is not there is downloaded
            there, unless the variable FLOWPRUNE_OFFLINE is set.
        valid: Fraction of the published training images held out.
        seed: Of the validation split and of the samples.
        train_samples: A stratified sample of the published training images, before validation is held out.
        test_samples: A stratified sample of the published test images.
        normalisation: ``statistics``: mean and deviation of the training images. ``half``: 0.5 and 0.5 for each
            channel, as the code of arXiv 2009.11839 does.

    Raises:
        FileNotFoundError: the files are not there and could not be downloaded; the message says where they should be.
        ValueError: a file is damaged, or a fraction or number cannot be had.

    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    found = locate("cifar10", data_dir, (CIFAR10_PYTHON, CIFAR10_BINARY))
    train, test = _splits(found, "labels")
    normalise = choose("cifar10(normalisation=)", normalisation, lambda: CIFAR10, 3)
    use = Use(valid, seed, train_samples, test_samples, classes=CLASSES["labels"])
    return published("cifar10", train, test, use, normalise=normalise, augment=Augment())


def cifar100(
    data_dir: str | Path | None = None,
    *,
    labels: Literal["fine", "coarse"] = "fine",
    valid: float = 0.1,
    seed: int = 0,
    train_samples: int | None = None,
    test_samples: int | None = None,
    normalisation: Normalisation = "statistics",
) -> ImageSet:
    """CIFAR-100: 50,000 + 10,000 colour images of 32x32 in 100 fine classes, or 20 coarse ones.

    The other arguments, errors and source are those of :func:`cifar10`; the folder is ``cifar-100-python`` or
    ``cifar-100-binary``.

    Args:
        data_dir: As for :func:`cifar10`.
        labels: ``fine`` (100 classes) or ``coarse`` (20 superclasses of five fine ones each).
        valid: As for :func:`cifar10`; stratified by the labels chosen.
        seed: As for :func:`cifar10`.
        train_samples: As for :func:`cifar10`.
        test_samples: As for :func:`cifar10`.
        normalisation: As for :func:`cifar10`.
    """
    kind = f"{labels}_labels"
    if kind not in CLASSES:
        raise unknown("cifar100(labels=)", labels, ("fine", "coarse"))
    found = locate("cifar100", data_dir, (CIFAR100_PYTHON, CIFAR100_BINARY))
    train, test = _splits(found, kind)
    normalise = choose("cifar100(normalisation=)", normalisation, lambda: CIFAR100, 3)
    use = Use(valid, seed, train_samples, test_samples, classes=CLASSES[kind])
    return published("cifar100", train, test, use, normalise=normalise, augment=Augment())
