"""The readers of published files, on small files of the same layout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from flowprune.core.errors import UnknownNameError
from flowprune.data import cifar10, cifar100, fashion_mnist, mnist, tiny_imagenet
from flowprune.data.files import VARIABLE
from flowprune.data.idx import BEGINNINGS
from tests.data import publish


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_cifar10_is_read_in_planes_and_in_order(tmp_path, protocol):
    data = publish.cifar10(tmp_path, protocol)
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
    publish.cifar10(tmp_path)
    named = cifar10(tmp_path).fingerprint
    assert cifar10(tmp_path / "cifar-10-batches-py").fingerprint == named
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert cifar10().fingerprint == named


def test_cifar10_samples_are_stratified(tmp_path):
    publish.cifar10(tmp_path)
    dataset = cifar10(tmp_path, train_samples=30, test_samples=10, valid=1 / 3)
    assert dataset.train.labels.bincount().tolist() == [2] * 10
    assert len(dataset.valid) == 10
    with pytest.raises(ValueError, match="from 1 to the 50 images"):
        cifar10(tmp_path, train_samples=51)


def test_cifar10_reads_the_binary_version_alike(tmp_path):
    data = publish.cifar10(tmp_path / "python")
    folder = publish.cifar10_binary(tmp_path / "binary", data)
    assert cifar10(tmp_path / "binary").fingerprint == cifar10(tmp_path / "python").fingerprint
    assert cifar10(folder).fingerprint == cifar10(tmp_path / "python").fingerprint


@pytest.mark.parametrize("labels", ["fine", "coarse"])
def test_cifar100_reads_the_binary_version_alike(tmp_path, labels):
    data = publish.cifar100(tmp_path / "python")
    publish.cifar100_binary(tmp_path / "binary", data)
    both = [cifar100(tmp_path / version, labels=labels, valid=0.0) for version in ("python", "binary")]
    assert both[0].fingerprint == both[1].fingerprint
    assert {dataset.num_classes for dataset in both} == {{"fine": 100, "coarse": 20}[labels]}


def test_cifar100_reads_fine_and_coarse_labels(tmp_path):
    publish.cifar100(tmp_path)
    fine, coarse = (cifar100(tmp_path, labels=labels, valid=0.0) for labels in ("fine", "coarse"))
    assert fine.train.labels.tolist() == list(range(100))
    assert coarse.train.labels.tolist() == [label // 5 for label in range(100)]
    assert torch.equal(fine.train.images, coarse.train.images)
    assert cifar100(tmp_path, labels="coarse", valid=0.2).valid.labels.bincount().tolist() == [1] * 20
    with pytest.raises(UnknownNameError, match="Known: coarse, fine"):
        cifar100(tmp_path, labels="superclass")


def test_a_sample_without_a_class_keeps_the_number_of_classes(tmp_path):
    publish.mnist(tmp_path, first=(0,) * 40)
    assert mnist(tmp_path).num_classes == 10


@pytest.mark.parametrize("make", [cifar10, cifar100, fashion_mnist, mnist, tiny_imagenet])
def test_missing_files_are_named_with_their_folder(make, tmp_path, monkeypatch):
    said = rf"{make.__name__}\(data_dir=\) must find the files .*; looked in {tmp_path}/.*FLOWPRUNE_OFFLINE is set.*"
    with pytest.raises(FileNotFoundError, match=f"{said}flowprune download {make.__name__} --data-dir {tmp_path},"):
        make(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{said}flowprune download {make.__name__} --data-dir {tmp_path},"):
        make()
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"looked in {tmp_path}/flowprune/.*download {make.__name__},"):
        make()
    assert list(tmp_path.iterdir()) == []


def test_where_some_of_the_files_are_there_the_missing_ones_are_named(tmp_path):
    publish.cifar10(tmp_path)
    folder = tmp_path / "cifar-10-batches-py"
    (folder / "data_batch_1").unlink()
    said = rf"must find the file data_batch_1 in {folder}, where the other 5 are\. It was not"
    with pytest.raises(FileNotFoundError, match=said) as caught:
        cifar10(tmp_path)
    assert "data_batch_2" not in str(caught.value)
    (folder / "test_batch").unlink()
    with pytest.raises(FileNotFoundError, match=rf"the files data_batch_1, test_batch in {folder}, where the other 4"):
        cifar10(tmp_path)


@pytest.mark.parametrize("count", [70_000, 0, -1, True, 2.5])
@pytest.mark.parametrize("field", ["train_samples", "test_samples"])
def test_a_number_of_samples_that_cannot_be_had_is_refused_by_its_own_name(tmp_path, field, count):
    publish.cifar10(tmp_path)
    with pytest.raises(ValueError, match=rf"^cifar10\({field}=\) must be a whole number from 1 to the \d+ images"):
        cifar10(tmp_path, **{field: count})


def test_the_cache_of_the_user_is_looked_in_last(tmp_path, monkeypatch):
    publish.mnist(tmp_path / "cache" / "flowprune" / "mnist")
    publish.mnist(tmp_path / "mnist")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    cached = mnist().fingerprint
    assert cached == mnist(tmp_path / "cache" / "flowprune").fingerprint
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert mnist().fingerprint == mnist(tmp_path).fingerprint != cached


SETS = [(mnist, place) for place in (".", "mnist", "MNIST/raw")]
SETS += [(fashion_mnist, place) for place in (".", "fashion-mnist", "fashion_mnist", "FashionMNIST/raw")]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("make", "place"), SETS)
def test_idx_files_are_read_packed_or_not(tmp_path, packed, make, place):
    images = publish.mnist(tmp_path / "root" / place, packed=packed)
    dataset = make(tmp_path / "root", valid=0.25)
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (30, 10, 10)
    assert torch.equal(dataset.train.images, torch.from_numpy(images)[dataset.train.indices].unsqueeze(1))
    assert dataset.train.labels.tolist() == (dataset.train.indices % 10).tolist()


def test_digits_and_clothes_are_told_apart(tmp_path):
    """By the folder's name where it has one, else by the first labels; a set never reads the other's folder."""
    publish.mnist(tmp_path / "FashionMNIST" / "raw")
    with pytest.raises(FileNotFoundError):
        mnist(tmp_path)
    for place in (tmp_path / "FashionMNIST" / "raw", tmp_path / "FashionMNIST"):
        with pytest.raises(FileNotFoundError):
            mnist(place)
    assert len(fashion_mnist(tmp_path / "FashionMNIST" / "raw").test) == 10
    publish.mnist(tmp_path / "mnist")
    with pytest.raises(FileNotFoundError):
        fashion_mnist(tmp_path / "mnist")
    for make, other in ((mnist, "fashion_mnist"), (fashion_mnist, "mnist")):
        publish.mnist(tmp_path / make.__name__ / "plain", first=BEGINNINGS[other])
        with pytest.raises(ValueError, match=f"must be of {make.__name__}; got 'the labels of {other}'"):
            make(tmp_path / make.__name__ / "plain")


def test_each_set_has_its_own_statistics_and_half(tmp_path):
    publish.mnist(tmp_path / "mnist")
    publish.mnist(tmp_path / "fashion-mnist")
    publish.cifar10(tmp_path)
    publish.cifar100(tmp_path)
    makers = {mnist: 0.1307, fashion_mnist: 0.2860, cifar10: 0.4914, cifar100: 0.50708}
    for make, mean in makers.items():
        assert make(tmp_path).mean[0] == mean
        half = make(tmp_path, normalisation="half")
        assert set(half.mean) == set(half.std) == {0.5}
        assert half.fingerprint == make(tmp_path).fingerprint
        black = half.normalise(torch.zeros(1, *half.shape, dtype=torch.uint8))
        assert set(black.flatten().tolist()) == {-1.0}
        with pytest.raises(UnknownNameError, match="Known: half, statistics"):
            make(tmp_path, normalisation="none")


def test_real_files_where_this_machine_has_them():
    root = Path(os.environ.get(VARIABLE, "/nowhere"))
    makers = {"cifar-10-batches-py": cifar10, "cifar-100-python": cifar100, "mnist-subset": mnist}
    makers |= {"fashion-mnist": fashion_mnist, "tiny-imagenet-200": tiny_imagenet}
    for make in [make for folder, make in makers.items() if (root / folder).is_dir()]:
        dataset = make(valid=0.1)
        counts = torch.cat([dataset.train.labels, dataset.valid.labels]).bincount()
        assert len(counts) == dataset.num_classes
        pixels = dataset.train.images[::7].double() / 255
        measured = (pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0))
        for value, stated in zip(measured, (dataset.mean, dataset.std), strict=True):
            torch.testing.assert_close(value, torch.tensor(stated, dtype=torch.float64), atol=0.02, rtol=0)
