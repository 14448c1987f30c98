"""Batches: order, augmentation and the scoring sample."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch

from flowprune.core.errors import UnknownNameError
from flowprune.data import (
    Augment,
    Batches,
    ImageSet,
    Split,
    batches,
    digits,
    gaussians,
    scoring_batches,
    training_batches,
)
from flowprune.data.augmentation import Shifts, crop, draw, padded

CPU = torch.device("cpu")


def numbered(n: int, size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose every pixel tells where it came from; labels are positions."""
    images = torch.arange(n * 3 * size * size, dtype=torch.float64).view(n, 3, size, size) + 1
    return images, torch.arange(n)


def together(data: Batches) -> tuple[torch.Tensor, torch.Tensor]:
    parts = list(data)
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def identical(a: Batches, b: Batches) -> bool:
    return all(torch.equal(left, right) for left, right in zip(together(a), together(b), strict=True))


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("batch", [1, 3, 7, 10, 99])
def test_every_example_comes_once_with_its_own_label(seed, batch):
    images, labels = numbered(10)
    data = batches(images, labels, batch=batch, seed=seed)
    parts = list(data)
    assert [len(y) for _, y in parts] == [min(batch, 10 - i) for i in range(0, 10, batch)]
    assert len(data) == len(parts)
    x, y = together(data)
    assert sorted(y.tolist()) == list(range(10))
    assert torch.equal(x, images[y])


def test_batches_are_the_same_at_every_pass_and_others_in_another_epoch():
    images, labels = numbered(20)
    data = batches(images, labels, batch=6, seed=0, augment=Augment(padding=1))
    assert identical(data, data)
    assert identical(data.at(3), data.at(3))
    assert not torch.equal(data.at(3).order(), data.at(4).order())
    assert identical(data.at(3).at(0), data)


def test_order_and_augmentation_do_not_disturb_each_other():
    """CC-6: each purpose has its own stream, so switching augmentation on keeps the order."""
    images, labels = numbered(30)
    plain = batches(images, labels, batch=7, seed=5).at(2)
    augmented = batches(images, labels, batch=7, seed=5, augment=Augment(padding=2)).at(2)
    assert torch.equal(together(plain)[1], together(augmented)[1])
    assert not torch.equal(together(plain)[0], together(augmented)[0])


def test_global_random_state_is_neither_read_nor_moved():
    data = batches(*numbered(30), batch=7, seed=5, augment=Augment(padding=2))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = together(data)[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(together(data)[0], first)


@pytest.mark.parametrize("augment", [None, Augment(padding=2), Augment(padding=0), Augment(padding=3, flip=False)])
def test_starting_inside_an_epoch_gives_what_was_left(augment):
    data = batches(*numbered(23), batch=5, seed=1, augment=augment).at(4)
    whole = list(data)
    for first in range(len(data) + 1):
        left = list(data.starting(first))
        assert len(left) == len(whole) - first
        for (x, y), (x0, y0) in zip(left, whole[first:], strict=True):
            assert torch.equal(x, x0)
            assert torch.equal(y, y0)


def test_crop_and_flip_are_those_of_a_slow_loop():
    images, _ = numbered(40, size=5)
    augment = Augment(padding=2)
    shifts = draw(augment, 40, seed=0, epoch=0, device=CPU)
    pixels = padded(images.permute(0, 2, 3, 1), 2)
    chosen = torch.randperm(40)
    fast = crop(pixels, chosen, size=(5, 5), shifts=shifts)
    border = torch.nn.functional.pad(images, (2, 2, 2, 2))
    for i, image in enumerate(chosen.tolist()):
        down, right = int(shifts.down[i]), int(shifts.right[i])
        slow = border[image, :, down : down + 5, right : right + 5]
        slow = slow.flip(2) if shifts.mirrored[i] else slow
        assert torch.equal(fast[i].permute(2, 0, 1), slow)


def test_shifts_reach_every_offset_and_half_are_mirrored():
    shifts = draw(Augment(padding=4), 5000, seed=0, epoch=0, device=CPU)
    for offsets in (shifts.down, shifts.right):
        assert offsets.unique().tolist() == list(range(9))
        assert int(offsets.bincount().min()) > 450
    assert float(shifts.mirrored.float().mean()) == pytest.approx(0.5, abs=0.03)
    assert not bool(draw(Augment(padding=1, flip=False), 100, seed=0, epoch=0, device=CPU).mirrored.any())
    assert float(torch.corrcoef(torch.stack([shifts.down.double(), shifts.right.double()]))[0, 1].abs()) < 0.05


def test_augmenting_leaves_the_stored_images_alone():
    images, labels = numbered(10)
    kept = images.clone()
    together(batches(images, labels, batch=4, seed=0, augment=Augment(padding=0)))
    together(batches(images, labels, batch=4, seed=0, augment=Augment(padding=1)))
    assert torch.equal(images, kept)


def test_augmented_batches_are_channels_last_in_memory():
    data = batches(*numbered(8), batch=4, seed=0, augment=Augment(padding=1))
    assert next(iter(data))[0].is_contiguous(memory_format=torch.channels_last)


def test_crop_without_a_border_is_the_image_itself():
    images, _ = numbered(3)
    still = Shifts(
        torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.bool)
    )
    pixels = images.permute(0, 2, 3, 1).contiguous()
    assert torch.equal(crop(pixels, torch.arange(3), size=(4, 4), shifts=still), pixels)


def test_bytes_become_float32_and_doubles_stay():
    images, labels = numbered(4)
    assert next(iter(batches(images, labels, batch=4)))[0].dtype == torch.float64
    assert next(iter(batches(images.to(torch.uint8), labels, batch=4)))[0].dtype == torch.float32


def test_training_batches_are_the_normalised_training_split():
    dataset = digits()
    data = training_batches(dataset, batch=64, seed=3, augment=False)
    x, y = together(data)
    order = data.order()
    torch.testing.assert_close(x, dataset.inputs("train")[order])
    assert torch.equal(y, dataset.train.labels[order])
    assert torch.equal(data.indices, dataset.train.indices)
    assert training_batches(dataset).augment == Augment(padding=1, flip=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch=.*must be >= 1; got 0"),
        ({"augment": Augment(), "seed": None}, "seed=.*where there is augmentation"),
        ({"labels": torch.arange(3)}, "n > 0 labels"),
        ({"images": torch.zeros(4, 5)}, "channels, h, w"),
        ({"images": torch.zeros(0, 1, 2, 2), "labels": torch.zeros(0)}, "n > 0"),
    ],
)
def test_impossible_batches_are_refused(change, message):
    images, labels = numbered(4)
    arguments = {"images": images, "labels": labels, "batch": 2, "seed": 0, **change}
    with pytest.raises(ValueError, match=message):
        batches(**arguments)


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="padding"):
        Augment(padding=-1)


def by_class() -> ImageSet:
    """A dataset whose stored training images are sorted by class, as in the field's repeated bug."""
    dataset = gaussians(samples=1000, num_classes=5)
    return replace(dataset, train=dataset.train.pick(dataset.train.labels.argsort(stable=True)))


@pytest.mark.parametrize("balanced", [False, True])
def test_scoring_sample_is_no_slice_of_a_sorted_set(balanced):
    """RT-11: neither the first batch only, nor sorted by class, nor augmented."""
    dataset = by_class()
    data = scoring_batches(dataset, samples=200, batch=40, class_balanced=balanced)
    passes = [together(data) for _ in range(2)]
    assert len(passes[0][1]) == 200
    assert all(torch.equal(a, b) for a, b in zip(*passes, strict=True))
    for _, labels in data:
        assert len(labels.unique()) == 5
    assert len(data.indices.unique()) == 200


def test_scoring_sample_is_recorded_and_clean():
    """CC-7: the recorded indices are those of the source, and the inputs are the stored images, not augmented."""
    from sklearn.datasets import load_digits

    rows, target = load_digits(return_X_y=True)
    dataset = digits()
    data = scoring_batches(dataset, samples=100, batch=32)
    inputs, labels = together(data)
    served = data.indices[data.order()]
    source = torch.from_numpy(rows)[served].view(-1, 1, 8, 8).to(torch.uint8)
    torch.testing.assert_close(inputs, dataset.normalise(source))
    assert torch.equal(labels, torch.from_numpy(target)[served])
    assert set(data.indices.tolist()) <= set(dataset.train.indices.tolist())


def test_scoring_sample_depends_on_its_seed_alone():
    dataset = digits()
    first = scoring_batches(dataset, samples=64, seed=1)
    assert torch.equal(first.indices, scoring_batches(dataset, samples=64, seed=1).indices)
    assert not torch.equal(first.indices, scoring_batches(dataset, samples=64, seed=2).indices)


def test_augmented_scoring_shows_the_same_images_at_every_pass():
    dataset = digits()
    plain, moved = (scoring_batches(dataset, samples=64, augment=augment) for augment in (False, True))
    assert identical(moved, moved)
    assert torch.equal(plain.indices, moved.indices)
    assert not identical(plain, moved)


def test_balanced_sample_has_at_least_its_share_or_says_why_not():
    """Q13: the reference sampler wanted more images than it used, and ended in StopIteration."""
    dataset = digits()
    fewest = int(dataset.train.labels.bincount().min())
    data = scoring_batches(dataset, samples=10 * fewest, class_balanced=True)
    assert data.labels.bincount().tolist() == [fewest] * 10
    assert scoring_batches(dataset, samples=101, class_balanced=True).labels.bincount().tolist() == [11] * 10
    with pytest.raises(ValueError, match=f"at most {fewest} times the 10 classes, as class . has no more images"):
        scoring_batches(dataset, samples=10 * fewest + 1, class_balanced=True)


def of_each(*counts: int) -> ImageSet:
    """A dataset with so many training images of each class."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    train = Split(torch.zeros(len(labels), 1, 2, 2), labels, torch.arange(len(labels)))
    return replace(gaussians(num_classes=len(counts)), train=train)


@pytest.mark.parametrize("short", ["refuse", "take"])
def test_a_class_of_exactly_as_many_as_wanted_is_taken_whole(short):
    """Q13: the reference sampler needed one image more than it took of each class, and ended in StopIteration."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = scoring_batches(of_each(5, 5, 9), samples=15, class_balanced=True, short=short)
        everything = scoring_batches(of_each(5, 5, 5), samples=15, class_balanced=True, short=short)
    assert data.labels.bincount().tolist() == [5, 5, 5]
    assert sorted(everything.indices.tolist()) == list(range(15))


def test_short_classes_are_refused_or_taken_with_a_warning_that_names_them():
    dataset = of_each(5, 2, 9, 0)
    with pytest.raises(ValueError, match=r"at most 0 times the 4 classes, as class 3 .*got 16\. .*short='take'"):
        scoring_batches(dataset, samples=16, class_balanced=True)
    with pytest.warns(UserWarning, match="all there is of 2 classes, 4 wanted: class 1 has 2, class 3 has 0"):
        data = scoring_batches(dataset, samples=16, class_balanced=True, short="take")
    assert data.labels.bincount(minlength=4).tolist() == [4, 2, 4, 0]
    same = scoring_batches(dataset, samples=8, class_balanced=False, short="take")
    assert torch.equal(same.indices, scoring_batches(dataset, samples=8).indices)
    with pytest.warns(UserWarning, match="takes all 16 training images, 17 wanted"):
        assert len(scoring_batches(dataset, samples=17, short="take").labels) == 16
    with pytest.raises(UnknownNameError, match="Known: refuse, take"):
        scoring_batches(dataset, samples=8, short="some")


@pytest.mark.parametrize("samples", [0, 1259])
def test_impossible_samples_are_refused(samples):
    with pytest.raises(ValueError, match="between 1 and the 1258 training images"):
        scoring_batches(digits(), samples=samples)
