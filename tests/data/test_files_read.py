"""The readers of published files, on small files of the same layout."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from flowprune.data import cifar10, cifar100, mnist
from flowprune.data.files import VARIABLE

GENERATOR = np.random.default_rng(0)


def rows(n: int) -> np.ndarray:
    return GENERATOR.integers(0, 256, (n, 3072), dtype=np.uint8)


def write(path: Path, content: object, protocol: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def fake_cifar10(root: Path, protocol: int = 4) -> np.ndarray:
    data, labels = rows(50), (np.arange(50) % 10).tolist()
    for i in range(5):
        part = slice(10 * i, 10 * i + 10)
        content = {b"data": data[part], b"labels": labels[part]}
        write(root / "cifar-10-batches-py" / f"data_batch_{i + 1}", content, protocol)
    write(root / "cifar-10-batches-py" / "test_batch", {"data": data[:10], "labels": labels[:10]}, protocol)
    return data


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_cifar10_is_read_in_planes_and_in_order(tmp_path, protocol):
    data = fake_cifar10(tmp_path, protocol)
    dataset = cifar10(tmp_path, valid=0.2)
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (40, 10, 10)
    assert (dataset.shape, dataset.num_classes) == ((3, 32, 32), 10)
    for split in (dataset.train, dataset.valid):
        for image, label, index in zip(split.images, split.labels, split.indices, strict=True):
            row = data[int(index)]
            assert image[1, 2, 3] == row[1024 + 2 * 32 + 3]  # green plane, row 2, column 3
            assert int(label) == int(index) % 10
    assert dataset.valid.labels.bincount().tolist() == [1] * 10


def test_cifar10_folder_may_be_named_itself_or_by_the_variable(tmp_path, monkeypatch):
    fake_cifar10(tmp_path)
    named = cifar10(tmp_path).fingerprint
    assert cifar10(tmp_path / "cifar-10-batches-py").fingerprint == named
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert cifar10().fingerprint == named


def test_cifar10_samples_are_stratified(tmp_path):
    fake_cifar10(tmp_path)
    dataset = cifar10(tmp_path, train_samples=30, test_samples=10, valid=1 / 3)
    assert dataset.train.labels.bincount().tolist() == [2] * 10
    assert len(dataset.valid) == 10
    with pytest.raises(ValueError, match="between 0 and the 50 examples"):
        cifar10(tmp_path, train_samples=51)


def test_cifar100_reads_fine_labels(tmp_path):
    fine, coarse = list(range(100)), [label // 5 for label in range(100)]
    for name in ("train", "test"):
        content = {"data": rows(100), "fine_labels": fine, "coarse_labels": coarse}
        write(tmp_path / "cifar-100-python" / name, content)
    dataset = cifar100(tmp_path, valid=0.0)
    assert (dataset.num_classes, len(dataset.train), len(dataset.test)) == (100, 100, 100)
    assert dataset.train.labels.tolist() == fine


def test_a_pickle_that_asks_for_code_is_refused(tmp_path):
    fake_cifar10(tmp_path)
    write(tmp_path / "cifar-10-batches-py" / "test_batch", {"data": Path("x"), "labels": []})
    with pytest.raises(pickle.UnpicklingError, match="this is no CIFAR file: it asks for pathlib"):
        cifar10(tmp_path)


def test_a_file_without_labels_is_refused(tmp_path):
    fake_cifar10(tmp_path)
    write(tmp_path / "cifar-10-batches-py" / "test_batch", {"data": rows(2)})
    with pytest.raises(ValueError, match=r"test_batch must be a dictionary with data and labels; got \['data'\]"):
        cifar10(tmp_path)


@pytest.mark.parametrize("make", [cifar10, cifar100, mnist])
def test_missing_files_are_named_with_their_folder(make, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=rf"{make.__name__}\(data_dir=\) must find .*looked in {tmp_path}"):
        make(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(FileNotFoundError, match=f"neither data_dir= nor {VARIABLE}"):
        make()


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def fake_mnist(folder: Path, *, packed: bool) -> np.ndarray:
    folder.mkdir(parents=True)
    images = GENERATOR.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = np.arange(40) % 10
    for part, count in (("train", 40), ("t10k", 10)):
        for kind, array in (("images-idx3", images[:count]), ("labels-idx1", labels[:count])):
            raw, name = idx(array), f"{part}-{kind}-ubyte"
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(raw) if packed else raw)
    return images


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", [".", "mnist", "MNIST/raw"])
def test_mnist_is_read_packed_or_not(tmp_path, packed, place):
    images = fake_mnist(tmp_path / "root" / place, packed=packed)
    dataset = mnist(tmp_path / "root", valid=0.25)
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (30, 10, 10)
    assert torch.equal(dataset.train.images, torch.from_numpy(images)[dataset.train.indices].unsqueeze(1))
    assert dataset.train.labels.tolist() == (dataset.train.indices % 10).tolist()


@pytest.mark.parametrize(
    ("raw", "message"),
    [(b"", "IDX file"), (b"\x89PNG....", "IDX file"), (idx(np.zeros((2, 3)))[:-1], r"shape \(2, 3\)")],
)
def test_damaged_idx_files_are_refused(tmp_path, raw, message):
    fake_mnist(tmp_path / "mnist", packed=False)
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        mnist(tmp_path)


def test_real_files_where_this_machine_has_them():
    root = Path(os.environ.get(VARIABLE, "/nowhere"))
    makers = {"cifar-10-batches-py": cifar10, "cifar-100-python": cifar100, "mnist-subset": mnist}
    for make in [make for folder, make in makers.items() if (root / folder).is_dir()]:
        dataset = make(valid=0.1)
        counts = torch.cat([dataset.train.labels, dataset.valid.labels]).bincount()
        assert len(counts) == dataset.num_classes
        pixels = dataset.train.images[::7].double() / 255
        measured = (pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0))
        for value, stated in zip(measured, (dataset.mean, dataset.std), strict=True):
            torch.testing.assert_close(value, torch.tensor(stated, dtype=torch.float64), atol=0.02, rtol=0)
