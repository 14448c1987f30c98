"""MNIST from its published IDX files, compressed or not."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from flowprune.core.errors import invalid
from flowprune.data.augmentation import Augment
from flowprune.data.files import find_folder
from flowprune.data.image_set import ImageSet, Normalise, Split
from flowprune.data.published import Use, published

FOLDERS = ("mnist", "MNIST/raw", "mnist-subset", ".")
MNIST: Final = Normalise((0.1307,), (0.3081,), scale=255.0)
UNSIGNED_BYTES = 8
"""The third byte of an IDX file: the type of its entries."""


def read_idx(path: Path) -> Tensor:
    """The bytes of an IDX file, or of ``path.gz`` where only that is there, in the shape its header names.

    Raises:
        ValueError: not an IDX file of unsigned bytes, or shorter than its header says.
    """
    packed = path.with_name(path.name + ".gz")
    raw = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    start = raw[:4]
    if len(start) < 4 or start[:3] != bytes((0, 0, UNSIGNED_BYTES)):
        raise invalid(f"the file {path}", "an IDX file of unsigned bytes", start.hex())
    axes = start[3]
    shape = tuple(np.frombuffer(raw, ">u4", count=axes, offset=4).tolist())
    body = np.frombuffer(raw, np.uint8, offset=4 + 4 * axes)
    if body.size != np.prod(shape, dtype=np.int64):
        raise invalid(f"the file {path}", f"of the shape {shape} that its header names", f"{body.size} entries")
    return torch.from_numpy(body.reshape(shape).copy())


def _split(folder: Path, part: str) -> Split:
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte").to(torch.int64)
    return Split(read_idx(folder / f"{part}-images-idx3-ubyte").unsqueeze(1), labels, torch.arange(len(labels)))


def mnist(
    data_dir: str | Path | None = None,
    *,
    valid: float = 0.1,
    seed: int = 0,
    train_samples: int | None = None,
    test_samples: int | None = None,
) -> ImageSet:
    """MNIST: 60,000 + 10,000 grey images of 28x28 in 10 classes.

    Args:
        data_dir: The folder that holds the four files, or a folder ``mnist`` or ``MNIST/raw`` with them; None
            reads the variable FLOWPRUNE_DATA.
        valid: Fraction of the published training images held out.
        seed: Of the validation split and of the samples.
        train_samples: A stratified sample of the published training images, before validation is held out.
        test_samples: A stratified sample of the published test images.

    Raises:
        FileNotFoundError: the files are not there; the message names the folders looked in.

    Source: LeCun, Cortes & Burges 1998, The MNIST database of handwritten digits.
    """
    files = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    folder = find_folder("mnist(data_dir=)", data_dir, folders=FOLDERS, files=files)
    train, test = (_split(folder, part) for part in ("train", "t10k"))
    use = Use(valid, seed, train_samples, test_samples)
    return published("mnist", train, test, use, normalise=MNIST, augment=Augment(padding=2, flip=False))
