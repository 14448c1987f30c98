"""Files that are not what they should be: one error with the path, what was expected, and how to get a good copy."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flowprune.data import cifar10, cifar100, mnist, tiny_imagenet
from tests.data import publish

ROWS = publish.pixels(3, 3072)


def refusal(make: Callable, root: Path, **arguments: object) -> str:
    with pytest.raises(ValueError, match="must be") as caught:
        make(root, **arguments)
    return str(caught.value)


def content(**change: object) -> dict[str, object]:
    return {"data": ROWS, "labels": [0, 1, 2], **change}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"data": Path("x"), "labels": []}, "it asks for pathlib."),
        ([1, 2], "a pickled dictionary of arrays, whole; got 'list'"),
        ({"data": ROWS}, "a dictionary with data and labels; got ['data']"),
        ({"labels": [0, 1, 2]}, "a dictionary with data and labels; got ['labels']"),
        (content(data=ROWS[:, :-1]), "of images of 3072 bytes; got 'uint8 (3, 3071)'"),
        (content(data=ROWS.ravel()), "of images of 3072 bytes; got 'uint8 (9216,)'"),
        (content(data=ROWS.astype(float)), "of images of 3072 bytes; got 'float64 (3, 3072)'"),
        (content(labels=[0, 1]), "one whole number for each image in labels; got 'int64 (2,) for 3 images'"),
        (content(labels=[0.0, 1.0, 2.5]), "one whole number for each image in labels; got 'float64 (3,)"),
        (content(labels=["cat", "dog", "cat"]), "one whole number for each image in labels; got '<U3 (3,)"),
        (content(labels=[0, 10, 2]), "of labels 0 to 9; got '10, of 3 labels'"),
        (content(labels=[0, -1, 255]), "of labels 0 to 9; got '-1, and 1 more outside, of 3 labels'"),
    ],
)
@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_what_a_pickled_file_must_hold(tmp_path, name, content, said):
    publish.cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / name
    publish.pickled(path, content)
    message = refusal(cifar10, tmp_path)
    assert message.startswith(f"the file {path} must be ")
    assert said in message
    assert message.endswith(f"Delete it and run: flowprune download cifar10 --data-dir {tmp_path}")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_cut_off_anywhere_is_told(tmp_path, protocol):
    publish.cifar10(tmp_path, protocol)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    whole = path.read_bytes()
    for end in [0, 1, 2, 3, 10, 50, 100, 150, len(whole) // 2, len(whole) - 50, len(whole) - 2, len(whole) - 1]:
        path.write_bytes(whole[:end])
        message = refusal(cifar10, tmp_path)
        assert message.startswith(f"the file {path} must be a pickled dictionary of arrays, whole; got ")


def test_a_pickle_of_noise_is_told(tmp_path):
    publish.cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    generator = np.random.default_rng(1)
    for first in range(256):
        path.write_bytes(bytes([first]) + generator.bytes(60))
        assert str(path) in refusal(cifar10, tmp_path)


@pytest.mark.parametrize("kind", ["fine", "coarse"])
def test_labels_of_cifar100_are_counted_by_their_kind(tmp_path, kind):
    publish.cifar100(tmp_path)
    bad = {"data": ROWS, "fine_labels": [100, 1, 2], "coarse_labels": [20, 21, 2]}
    publish.pickled(tmp_path / "cifar-100-python" / "test", bad)
    said = {
        "fine": "labels 0 to 99; got '100, of 3 labels'",
        "coarse": "0 to 19; got '20, and 1 more outside, of 3 labels'",
    }
    assert said[kind] in refusal(cifar100, tmp_path, labels=kind)


@pytest.mark.parametrize(("make", "record"), [(cifar10, 3073), (cifar100, 3074)])
def test_binary_files_hold_whole_records_and_labels_of_the_set(tmp_path, make, record):
    if make is cifar10:
        folder = publish.cifar10_binary(tmp_path, publish.pixels(50, 3072))
    else:
        folder = publish.cifar100_binary(tmp_path, publish.pixels(100, 3072))
    path = next(folder.glob("test*.bin"))
    whole = path.read_bytes()
    for end in (0, 1, len(whole) - 1):
        path.write_bytes(whole[:end])
        message = refusal(make, tmp_path)
        assert f"the file {path} must be of whole records of {record} bytes; got '{end} bytes'. Delete it" in message
    path.write_bytes(b"\xff" * record * 2)
    assert "got '255, and 1 more outside, of 2 labels'" in refusal(make, tmp_path)


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("t10k-labels-idx1-ubyte", b"", "an IDX file of unsigned bytes with 1 axes; got ''"),
        ("t10k-labels-idx1-ubyte", b"\x89PNG....", "an IDX file"),
        ("t10k-labels-idx1-ubyte", b"\0\0\x08\x01\0", "an IDX file"),
        ("t10k-labels-idx1-ubyte", publish.idx(np.zeros((10, 1))), "an IDX file of unsigned bytes with 1 axes"),
        ("t10k-labels-idx1-ubyte", publish.idx(np.zeros(10))[:-1], "of the shape (10,) that its header names; got '9 "),
        ("t10k-labels-idx1-ubyte", publish.idx(np.zeros(10)) + b"0", "of the shape (10,) that its header names"),
        ("t10k-labels-idx1-ubyte", publish.idx(np.zeros(9)), "one label for each of the 10 images in t10k-images"),
        ("t10k-labels-idx1-ubyte", publish.idx(np.full(10, 17)), "of labels 0 to 9; got '17, and 9 more outside"),
        ("train-images-idx3-ubyte", publish.idx(np.zeros((40, 28, 27))), "of images of 28x28; got (40, 28, 27)"),
        (
            "train-images-idx3-ubyte",
            b"\0\0\x08\x03" + b"\xff" * 12,
            "of the shape (4294967295, 4294967295, 4294967295)",
        ),
    ],
)
def test_what_an_idx_file_must_hold(tmp_path, name, raw, said):
    publish.mnist(tmp_path / "mnist")
    path = tmp_path / "mnist" / name
    path.write_bytes(raw)
    message = refusal(mnist, tmp_path)
    assert message.startswith(f"the file {path} must be ")
    assert said in message
    assert message.endswith(f"Delete it and run: flowprune download mnist --data-dir {tmp_path}")


def test_a_compressed_file_cut_off_or_altered_is_told(tmp_path):
    publish.mnist(tmp_path / "mnist", packed=True)
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    middle = len(whole) // 2
    altered = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 9]) + whole[middle + 9 :]
    checksum = whole[:-8] + bytes(8)
    for raw in (b"no gzip", whole[:1], whole[:12], whole[:middle], whole[:-1], altered, checksum):
        path.write_bytes(raw)
        assert f"the file {path} must be whole and compressed by gzip; got" in refusal(mnist, tmp_path)
    path.write_bytes(b"")
    assert str(path) in refusal(mnist, tmp_path)
    path.write_bytes(gzip.compress(b"other content"))
    assert "an IDX file" in refusal(mnist, tmp_path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    publish.tiny_imagenet(root)
    tiny_imagenet(root)
    return root


def in_wnids(path: Path) -> str:
    return (path / "wnids.txt").read_text().split()[3]


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("wnids.txt", lambda text: text.partition("\n")[2], "of 200 different WordNet ids, one a line; got '199 lines"),
        ("wnids.txt", lambda text: text[:10] + text[:10] + text[20:], "got '200 lines, 199 of them different'"),
        ("val/val_annotations.txt", lambda text: "", "of lines: file, tab, WordNet id, ...; got 'none'"),
        ("val/val_annotations.txt", lambda text: "val_0.JPEG n1\n" + text, "of lines: file, tab, WordNet id"),
        (
            "val/val_annotations.txt",
            lambda text: text.replace("\tn", "\tm", 2),
            "and 1 more others, in 200 lines'. Delete it",
        ),
        (
            "val/val_annotations.txt",
            lambda text: text.partition("\n")[2],
            "got '199 lines for 200 images; val_199.JPEG",
        ),
        ("val/val_annotations.txt", lambda text: text + text[: text.index("\n") + 1], "got '201 lines for 200 images'"),
    ],
)
def test_what_the_lists_of_tiny_imagenet_must_hold(tiny, file, change, said):
    path = tiny / "tiny-imagenet-200" / file
    text = path.read_text()
    path.write_text(change(text))
    try:
        message = refusal(tiny_imagenet, tiny)
    finally:
        path.write_text(text)
    assert message.startswith(f"the file {path} must be ")
    assert said in message
    assert f"flowprune download tiny_imagenet --data-dir {tiny}" in message


@pytest.mark.parametrize("damage", [b"no image", None])
def test_a_damaged_or_missing_image_of_tiny_imagenet_is_told(tiny, damage):
    folder = tiny / "tiny-imagenet-200"
    name = in_wnids(folder)
    files = sorted((folder / "train" / name / "images").iterdir())
    kept = {file: file.read_bytes() for file in files}
    for file in files:
        file.unlink() if damage is None else file.write_bytes(damage)
    try:
        message = refusal(tiny_imagenet, tiny)
    finally:
        for file, raw in kept.items():
            file.write_bytes(raw)
    assert (f"none for 1, such as {name}" if damage is None else f"the file {files[0]} must be an image") in message
    assert message.endswith(f"Delete the folder {folder} and run: flowprune download tiny_imagenet --data-dir {tiny}")


def test_an_image_of_another_size_is_told(tiny):
    folder = tiny / "tiny-imagenet-200"
    file = folder / "val" / "images" / "val_7.JPEG"
    raw = file.read_bytes()
    publish.image(file, publish.pixels(64, 63, 3))
    try:
        assert f"must be of one size, 64x64; got '63x64 ({file})'. Delete the folder" in refusal(tiny_imagenet, tiny)
    finally:
        file.write_bytes(raw)


def test_a_pickle_is_never_run(tmp_path):
    publish.cifar10(tmp_path)
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (trap,))

    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps({"data": Trap(), "labels": []}))
    assert "it asks for" in refusal(cifar10, tmp_path)
    assert not trap.exists()
