"""Small data sets in the layouts of the published ones."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

GENERATOR = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return GENERATOR.integers(0, 256, shape, dtype=np.uint8)


def pickled(path: Path, content: object, protocol: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def cifar10(root: Path, protocol: int = 4) -> np.ndarray:
    """Ten images in each of five files, and the first ten to test on; labels 0 to 9 over and over."""
    data, labels = pixels(50, 3072), (np.arange(50) % 10).tolist()
    folder = root / "cifar-10-batches-py"
    for i in range(5):
        part = slice(10 * i, 10 * i + 10)
        pickled(folder / f"data_batch_{i + 1}", {b"data": data[part], b"labels": labels[part]}, protocol)
    pickled(folder / "test_batch", {"data": data[:10], "labels": labels[:10]}, protocol)
    return data


def cifar10_binary(root: Path, data: np.ndarray) -> Path:
    """The same images as records."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    records = np.concatenate([(np.arange(50) % 10).astype(np.uint8)[:, None], data], axis=1)
    for i in range(5):
        (folder / f"data_batch_{i + 1}.bin").write_bytes(records[10 * i : 10 * i + 10].tobytes())
    (folder / "test_batch.bin").write_bytes(records[:10].tobytes())
    return folder


def cifar100(root: Path) -> np.ndarray:
    """One image of each fine class; fine class f is of the coarse class f // 5."""
    data, fine = pixels(100, 3072), list(range(100))
    content = {"data": data, "fine_labels": fine, "coarse_labels": [label // 5 for label in fine]}
    for name in ("train", "test"):
        pickled(root / "cifar-100-python" / name, content)
    return data


def cifar100_binary(root: Path, data: np.ndarray) -> Path:
    folder = root / "cifar-100-binary"
    folder.mkdir(parents=True)
    fine = np.arange(100, dtype=np.uint8)
    records = np.concatenate([fine[:, None] // 5, fine[:, None], data], axis=1)
    for name in ("train", "test"):
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def mnist(folder: Path, *, packed: bool = False, first: tuple[int, ...] = ()) -> np.ndarray:
    """Forty images to train on and the first ten to test on; labels 0 to 9 over and over, after ``first``."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = pixels(40, 28, 28), np.arange(40) % 10
    labels[: len(first)] = first
    for part, count in (("train", 40), ("t10k", 10)):
        for kind, array in (("images-idx3", images[:count]), ("labels-idx1", labels[:count])):
            raw, name = idx(array), f"{part}-{kind}-ubyte"
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(raw) if packed else raw)
    return images


def tiny_imagenet(root: Path) -> list[str]:
    """One training image of each of 200 classes and one to test on, and grey ones of twenty; the ids, in order."""
    folder, names = root / "tiny-imagenet-200", [f"n{(7 * label) % 200:08d}" for label in range(200)]
    images = folder / "val" / "images"
    images.mkdir(parents=True)
    (folder / "wnids.txt").write_text("\n".join(names))
    lines = []
    for label, name in enumerate(names):
        own = folder / "train" / name / "images"
        own.mkdir(parents=True)
        level = (label, 255 - label, (3 * label) % 256)
        Image.new("RGB", (64, 64), level).save(own / f"{name}_0.JPEG")
        if label < 20:
            Image.new("L", (64, 64), label).save(own / f"{name}_1.JPEG")
        Image.new("RGB", (64, 64), level).save(images / f"val_{label}.JPEG")
        lines.append(f"val_{label}.JPEG\t{name}\t0\t0\t63\t63\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    return names


def image(path: Path, array: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return array


def image_folder(root: Path, splits: tuple[str, ...] = ("train", "test"), shape: tuple[int, ...] = (8, 8, 3)) -> None:
    """Three images of cats and two of dogs in each split."""
    for split in splits:
        for name, count in (("cat", 3), ("dog", 2)):
            for number in range(count):
                image(root / split / name / f"{number}.png", pixels(*shape))
