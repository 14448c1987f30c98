"""CIFAR-10 and CIFAR-100 from the published "python version" files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from flowprune.core.errors import invalid
from flowprune.data.augmentation import Augment
from flowprune.data.files import find_folder
from flowprune.data.image_set import ImageSet, Normalise, Split
from flowprune.data.published import Use, published

CIFAR10: Final = Normalise((0.49140, 0.48216, 0.44653), (0.24703, 0.24349, 0.26159), scale=255.0)
CIFAR100: Final = Normalise((0.50708, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615), scale=255.0)
"""Of the training images."""


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled arrays and containers, and refuses everything else: a pickle can run any code."""

    ALLOWED: Final = frozenset(
        {
            ("_codecs", "encode"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.numeric", "_frombuffer"),
        }
    )

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"this is no CIFAR file: it asks for {module_name}.{global_name}")
        return super().find_class(module_name.replace("numpy.core", "numpy._core"), global_name)


def _read(path: Path, label_key: str) -> tuple[np.ndarray, np.ndarray]:
    """Bytes (n, 3, 32, 32) and int64 labels (n,) of one file."""
    with path.open("rb") as file:
        content: dict[bytes | str, Any] = _ArraysOnly(file, encoding="bytes").load()
    fields = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
    if label_key not in fields or "data" not in fields:
        raise invalid(f"the file {path}", f"a dictionary with data and {label_key}", sorted(fields))
    images = np.asarray(fields["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    return images, np.asarray(fields[label_key], dtype=np.int64)


def _split(folder: Path, files: tuple[str, ...], label_key: str) -> Split:
    parts = [_read(folder / file, label_key) for file in files]
    images = torch.from_numpy(np.concatenate([images for images, _ in parts]))
    labels = torch.from_numpy(np.concatenate([labels for _, labels in parts]))
    return Split(images, labels, torch.arange(len(labels)))


def cifar10(
    data_dir: str | Path | None = None,
    *,
    valid: float = 0.1,
    seed: int = 0,
    train_samples: int | None = None,
    test_samples: int | None = None,
) -> ImageSet:
    """CIFAR-10: 50,000 + 10,000 colour images of 32x32 in 10 classes.

    Args:
        data_dir: The folder that holds ``cifar-10-batches-py``; None reads the variable FLOWPRUNE_DATA.
        valid: Fraction of the published training images held out.
        seed: Of the validation split and of the samples.
        train_samples: A stratified sample of the published training images, before validation is held out.
        test_samples: A stratified sample of the published test images.

    Raises:
        FileNotFoundError: the files are not there; the message names the folders looked in.

    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    parts = tuple(f"data_batch_{i}" for i in range(1, 6))
    folders = ("cifar-10-batches-py", ".")
    folder = find_folder("cifar10(data_dir=)", data_dir, folders=folders, files=(*parts, "test_batch"))
    train, test = (_split(folder, part, "labels") for part in (parts, ("test_batch",)))
    use = Use(valid, seed, train_samples, test_samples)
    return published("cifar10", train, test, use, normalise=CIFAR10, augment=Augment())


def cifar100(
    data_dir: str | Path | None = None,
    *,
    valid: float = 0.1,
    seed: int = 0,
    train_samples: int | None = None,
    test_samples: int | None = None,
) -> ImageSet:
    """CIFAR-100: 50,000 + 10,000 colour images of 32x32 in 100 fine classes.

    Arguments, errors and source are those of :func:`cifar10`; the folder is ``cifar-100-python``.
    """
    folders = ("cifar-100-python", ".")
    folder = find_folder("cifar100(data_dir=)", data_dir, folders=folders, files=("train", "test"))
    train, test = (_split(folder, (part,), "fine_labels") for part in ("train", "test"))
    use = Use(valid, seed, train_samples, test_samples)
    return published("cifar100", train, test, use, normalise=CIFAR100, augment=Augment())
