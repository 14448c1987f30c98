"""Image files: Tiny-ImageNet, folders of one's own, and the cache of what was decoded."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flowprune.data import Augment, ImageSet, image_folder, kept, normalisation, scoring_batches, tiny_imagenet
from flowprune.data.decoding import square, suffixes
from tests.data import publish


def decoded(path: Path) -> torch.Tensor:
    """The slow way, one file."""
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return root, publish.tiny_imagenet(root)


def test_tiny_imagenet_is_read_in_the_order_of_its_lists(tiny):
    root, names = tiny
    dataset = tiny_imagenet(root, valid=0.0)
    folder = root / "tiny-imagenet-200"
    assert (dataset.num_classes, dataset.shape) == (200, (3, 64, 64))
    assert dataset.train.labels.tolist() == [*range(200), *range(20)]  # one of each class in turn
    assert dataset.test.labels.tolist() == [*reversed(range(200))]  # as annotated
    for index in (0, 1, 150, 201, 219):
        turn, label = divmod(index, 200)
        file = folder / "train" / names[label] / "images" / f"{names[label]}_{turn}.JPEG"
        assert torch.equal(dataset.train.images[index], decoded(file))
    for index in (0, 77):
        file = folder / "val" / "images" / f"val_{199 - index}.JPEG"
        assert torch.equal(dataset.test.images[index], decoded(file))
    grey = dataset.train.images[200:]
    assert torch.equal(grey[:, 0], grey[:, 2])
    assert tiny_imagenet(folder, valid=0.0).fingerprint == dataset.fingerprint
    assert len(tiny_imagenet(root, valid=0.5).valid) == 110
    assert dataset.mean == (0.4802, 0.4481, 0.3975)
    assert tiny_imagenet(root, normalisation="half").mean == (0.5,) * 3
    assert dataset.augment == Augment(padding=4)


def count_decoding(monkeypatch) -> list[int]:
    """The number of images of each call that decodes."""
    calls, decode = [], kept.decode

    def counted(files, form):
        calls.append(len(files))
        return decode(files, form)

    monkeypatch.setattr(kept, "decode", counted)
    return calls


def test_images_are_decoded_once(tiny, monkeypatch):
    root, _ = tiny
    calls = count_decoding(monkeypatch)
    before = tiny_imagenet(root)
    calls.clear()
    assert tiny_imagenet(root).fingerprint == before.fingerprint
    assert tiny_imagenet(root, valid=0.5, seed=3).num_classes == 200
    assert calls == []


@pytest.fixture
def folder(tmp_path):
    publish.image_folder(tmp_path)
    return tmp_path


def read(root: Path, **arguments: object) -> ImageSet:
    """A set too small to hold out a tenth of it."""
    return image_folder(root, **{"valid": 0.2, **arguments})


def caches(root: Path) -> list[Path]:
    return sorted((root / kept.FOLDER).iterdir())


def test_a_changed_folder_is_decoded_anew(folder, monkeypatch):
    calls = count_decoding(monkeypatch)
    prints = [read(folder).fingerprint]
    path = folder / "train" / "cat" / "1.png"
    publish.image(path, publish.pixels(8, 8, 3))  # another content
    prints.append(read(folder).fingerprint)
    publish.image(folder / "test" / "dog" / "9.png", publish.pixels(8, 8, 3))  # another file
    prints.append(read(folder).fingerprint)
    path.rename(path.with_name("renamed.png"))
    read(folder)
    assert len(set(prints)) == 3
    assert calls == [10, 10, 11, 11]
    os.utime(folder / "train" / "cat" / "0.png", ns=(1, 1))  # perhaps another content
    read(folder)
    assert calls == [10, 10, 11, 11, 11]
    assert len(caches(folder)) == 1  # what was replaced is gone
    read(folder, size=4)
    assert len(caches(folder)) == 2
    read(folder)
    read(folder, size=4)
    assert calls[5:] == [11]


@pytest.mark.parametrize("end", [0, 10, 200, -1])
def test_a_damaged_cache_is_not_used(folder, end):
    before = read(folder).fingerprint
    (cache,) = caches(folder)
    cache.write_bytes(cache.read_bytes()[:end])
    assert read(folder).fingerprint == before
    np.save(cache, np.zeros((3, 3, 8, 8), np.uint8))
    assert read(folder).fingerprint == before
    np.save(cache, np.array([{}]), allow_pickle=True)
    assert read(folder).fingerprint == before


def test_nothing_is_kept_where_nothing_can_be_written(folder, monkeypatch):
    (folder / kept.FOLDER).write_text("in the way")  # so that no folder can be made
    calls = count_decoding(monkeypatch)
    assert read(folder).fingerprint == read(folder).fingerprint
    assert calls == [10, 10]
    (folder / kept.FOLDER).unlink()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    read(folder)
    assert caches(folder) == []  # no part is left either


def test_what_is_kept_is_never_written_to(folder):
    dataset = read(folder)
    first = read(folder)
    first.test.images.zero_()
    assert read(folder).fingerprint == dataset.fingerprint


def everything(dataset: ImageSet) -> dict[str, list[int]]:
    return {name: dataset.split(name).labels.tolist() for name in ("train", "valid", "test")}


def test_image_folders_are_read_by_class_and_name(folder):
    dataset = image_folder(folder, valid=0.0)
    order = [("cat", 0), ("dog", 0), ("cat", 1), ("dog", 1), ("cat", 2)]
    for name in ("train", "test"):
        split = dataset.split(name)
        assert split.labels.tolist() == [0, 1, 0, 1, 0]
        for image, (kind, number) in zip(split.images, order, strict=True):
            assert torch.equal(image, decoded(folder / name / kind / f"{number}.png"))
    assert (dataset.num_classes, dataset.shape, dataset.augment) == (2, (3, 8, 8), Augment(padding=1))
    assert image_folder(folder.parent, folder=folder.name, valid=0.0).fingerprint == dataset.fingerprint


@pytest.mark.parametrize("part", [1, 150, 1 << 22])
def test_statistics_are_those_of_all_training_images(folder, monkeypatch, part):
    monkeypatch.setattr(normalisation, "PART", part)
    whole = torch.stack([decoded(path) for path in (folder / "train").rglob("*.png")]).double() / 255
    for valid in (0.0, 0.4):
        dataset = read(folder, valid=valid)
        torch.testing.assert_close(torch.tensor(dataset.mean).double(), whole.mean((0, 2, 3)), rtol=0, atol=1e-7)
        torch.testing.assert_close(torch.tensor(dataset.std).double(), whole.std((0, 2, 3), correction=0))
    seen = read(folder, valid=0.0).inputs("train").double()
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3).double(), rtol=0, atol=1e-6)
    assert read(folder, normalisation="half").std == (0.5,) * 3


def test_images_without_variation_cannot_be_normalised(tmp_path):
    for split in ("train", "test"):
        publish.image(tmp_path / split / "a" / "0.png", np.zeros((4, 4), np.uint8))
        publish.image(tmp_path / split / "b" / "0.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"vary in each channel; got 'std \[0.0\]'. Pass normalisation='half'"):
        image_folder(tmp_path, valid=0.0)
    assert image_folder(tmp_path, valid=0.0, normalisation="half").shape == (1, 4, 4)


def test_grey_images_have_one_channel_unless_one_is_coloured(tmp_path):
    publish.image_folder(tmp_path, shape=(8, 8))
    grey = image_folder(tmp_path, valid=0.0)
    assert grey.shape == (1, 8, 8)
    assert torch.equal(grey.train.images[1], decoded(tmp_path / "train" / "dog" / "0.png")[:1])
    publish.image(tmp_path / "test" / "dog" / "0.png", publish.pixels(8, 8, 3))
    mixed = image_folder(tmp_path, valid=0.0)
    assert mixed.shape == (3, 8, 8)
    assert torch.equal(mixed.train.images, grey.train.images.expand(-1, 3, -1, -1))


def test_the_validation_split_is_the_folders_own_where_there_are_both(tmp_path):
    publish.image_folder(tmp_path, splits=("train", "val"))
    carved = image_folder(tmp_path, valid=0.4)
    assert {name: len(labels) for name, labels in everything(carved).items()} == {"train": 3, "valid": 2, "test": 5}
    publish.image_folder(tmp_path, splits=("test",))
    own = image_folder(tmp_path)
    assert everything(own) == {"train": [0, 1, 0, 1, 0], "valid": [0, 1, 0, 1, 0], "test": [0, 1, 0, 1, 0]}
    assert torch.equal(own.valid.images[0], decoded(tmp_path / "val" / "cat" / "0.png"))
    assert torch.equal(own.test.images[0], decoded(tmp_path / "test" / "cat" / "0.png"))
    assert {name: len(labels) for name, labels in everything(image_folder(tmp_path, valid=0.4)).items()} == {
        "train": 3,
        "valid": 2,
        "test": 5,
    }


def test_no_slice_of_a_folder_is_of_one_class(folder):
    """RT-11: files sorted by folder come class after class."""
    dataset = image_folder(folder, valid=0.0)
    assert dataset.train.indices.tolist() == list(range(5))
    assert len(dataset.train.labels[:2].unique()) == 2
    assert sorted(scoring_batches(dataset, 4, class_balanced=True).labels.tolist()) == [0, 0, 1, 1]


def test_images_at_any_depth_of_any_kind_are_found_and_others_passed_over(tmp_path):
    publish.image_folder(tmp_path, splits=("test",))
    for name in ("cat", "dog"):
        for place in ("a.png", "deep/er/b.BMP", "c.jpg", "d.webp", "e.gif", "f.tiff"):
            publish.image(tmp_path / "train" / name / place, publish.pixels(8, 8, 3))
        (tmp_path / "train" / name / "notes.txt").write_text("no image")
        publish.image(tmp_path / "train" / name / ".hidden.png", publish.pixels(8, 8, 3))
        publish.image(tmp_path / "train" / name / ".ipynb_checkpoints" / "a.png", publish.pixels(8, 8, 3))
    publish.image(tmp_path / "train" / ".ipynb_checkpoints" / "a.png", publish.pixels(8, 8, 3))
    (tmp_path / "train" / "notes.txt").write_text("no image")
    dataset = image_folder(tmp_path, valid=0.0)
    assert (dataset.num_classes, len(dataset.train)) == (2, 12)
    assert {".jpeg", ".png", ".ppm"} <= suffixes()
    assert ".pdf" not in suffixes()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "test" / "dog").rename(root / "test" / "wolf"), "got 'without dog; besides wolf'"),
        (lambda root: publish.image(root / "test" / "elk" / "0.png", publish.pixels(8, 8, 3)), "got 'besides elk'"),
        (lambda root: (root / "train" / "elk").mkdir(), "folder with images for each class; got 'none in elk'"),
        (lambda root: publish.image(root / "train" / "a.png", publish.pixels(8, 8, 3)), "got 'the image a.png in it'"),
        (lambda root: (root / "train" / "cat" / "0.png").write_bytes(b""), "cat/0.png must be an image that Pillow"),
        (
            lambda root: (root / "train" / "cat" / "0.png").write_bytes(
                (root / "train" / "cat" / "1.png").read_bytes()[:-60]
            ),
            "cat/0.png must be an image that Pillow reads, whole; got",
        ),
        (
            lambda root: publish.image(root / "train" / "cat" / "0.png", np.full((8, 8), 40000, np.uint16)),
            'cat/0.png must be an image of eight bits a channel; got "one of Pillow\'s mode I;16"',
        ),
        (
            lambda root: publish.image(root / "test" / "cat" / "0.png", publish.pixels(9, 8, 3)),
            "of one size, 8x8; got '8x9 (",
        ),
    ],
)
def test_what_an_image_folder_must_hold(folder, spoil, said):
    spoil(folder)
    with pytest.raises(ValueError, match="must be") as caught:
        image_folder(folder)
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)
    assert not (folder / kept.FOLDER).exists()


def test_several_sizes_need_a_size(folder):
    publish.image(folder / "test" / "cat" / "0.png", publish.pixels(9, 20, 3))
    with pytest.raises(ValueError, match="Pass size= to make all of them squares"):
        read(folder)
    assert read(folder, size=6).shape == (3, 6, 6)
    with pytest.raises(ValueError, match=r"image_folder\(size=\) must be >= 1, or None; got 0"):
        read(folder, size=0)


def test_missing_splits_are_named(tmp_path):
    publish.image_folder(tmp_path, splits=("train",))
    with pytest.raises(FileNotFoundError, match=rf"test/ or val/.*found train in {tmp_path}"):
        image_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"found neither in {tmp_path}/flowers"):
        image_folder(tmp_path, folder="flowers")


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (5, 5), (5, 8)])
def test_a_square_of_the_shorter_side_is_the_middle_itself(shape):
    array = publish.pixels(*shape, 3)
    top, left = (shape[0] - 5) // 2, (shape[1] - 5) // 2
    assert np.array_equal(np.asarray(square(Image.fromarray(array), 5)), array[top : top + 5, left : left + 5])


@pytest.mark.parametrize("size", [1, 3, 10, 64])
@pytest.mark.parametrize("shape", [(30, 40), (7, 7), (100, 3)])
def test_scaling_keeps_the_level_and_the_side(shape, size):
    made = np.asarray(square(Image.fromarray(np.full(shape, 93, np.uint8)), size))
    assert made.shape == (size, size)
    assert np.all(made == 93)
