"""Datasets and their splits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flowprune.core.errors import UnknownNameError
from flowprune.data import DATASETS, ImageSet, Normalise, Split, build, digits, gaussians
from flowprune.data.image_set import content_fingerprint
from flowprune.data.splitting import shares, stratified, without

SPLITS = ("train", "valid", "test")


def all_indices(dataset: ImageSet) -> torch.Tensor:
    return torch.cat([dataset.split(name).indices for name in SPLITS])


@pytest.mark.parametrize("make", [digits, gaussians])
def test_splits_part_the_images_between_them(make):
    dataset = make()
    assert all_indices(dataset).sort().values.tolist() == list(range(len(all_indices(dataset))))


@pytest.mark.parametrize("make", [digits, gaussians])
def test_splits_are_stratified_and_not_sorted_by_class(make):
    dataset = make()
    whole = torch.cat([dataset.split(name).labels for name in SPLITS]).bincount().double()
    for name in SPLITS:
        split = dataset.split(name)
        expected = whole * len(split) / whole.sum()
        assert float((split.labels.bincount() - expected).abs().max()) <= 1.5, name
        assert bool((split.indices.diff() > 0).all())
        assert int((split.labels.diff() != 0).sum()) > len(split) // 2


@pytest.mark.parametrize("make", [digits, gaussians])
def test_same_seed_same_contents(make):
    assert make(seed=1).fingerprint == make(seed=1).fingerprint
    assert make(seed=1).fingerprint != make(seed=2).fingerprint


def test_digits_are_the_images_of_scikit_learn():
    from sklearn.datasets import load_digits

    rows, target = load_digits(return_X_y=True)
    dataset = digits()
    for name in SPLITS:
        split = dataset.split(name)
        assert split.images.dtype == torch.uint8
        assert torch.equal(split.images.flatten(1).double(), torch.from_numpy(rows)[split.indices])
        assert torch.equal(split.labels, torch.from_numpy(target)[split.indices])


def test_digits_are_normalised():
    everything = torch.cat([digits().inputs(name) for name in SPLITS]).double()
    assert float(everything.mean()) == pytest.approx(0.0, abs=1e-3)
    assert float(everything.std()) == pytest.approx(1.0, abs=1e-3)


def test_validation_comes_from_the_training_images():
    """Q11: another validation fraction must leave the test split alone."""
    few, many = digits(valid=0.05), digits(valid=0.5)
    assert torch.equal(few.test.indices, many.test.indices)
    assert len(few.train) + len(few.valid) == len(many.train) + len(many.valid)
    assert len(digits(valid=0.0).valid) == 0


def test_gaussians_can_be_told_apart_by_their_centres():
    dataset = gaussians(samples=600, num_classes=3, shape=(2, 4, 4), separation=8.0)
    train, test = dataset.inputs("train").flatten(1), dataset.inputs("test").flatten(1)
    centres = torch.stack([train[dataset.train.labels == label].mean(0) for label in range(3)])
    guesses = torch.cdist(test, centres).argmin(1)
    assert float((guesses == dataset.test.labels).float().mean()) > 0.97


def test_normalise_keeps_the_type_and_leaves_its_input_alone():
    images = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    kept = images.clone()
    normalised = Normalise((0.1, 0.2, 0.3), (1.0, 2.0, 4.0))(images)
    assert torch.equal(images, kept)
    assert normalised.dtype == torch.float64
    torch.testing.assert_close(normalised[:, 2], (images[:, 2] - 0.3) / 4.0)


def test_replacing_the_normalisation_keeps_the_contents():
    dataset = replace(digits(), normalise=Normalise((0.5,), (0.5,), scale=16.0))
    assert dataset.fingerprint == digits().fingerprint
    assert float(dataset.inputs("train").min()) == -1.0
    assert (dataset.mean, dataset.std) == ((0.5,), (0.5,))


@pytest.mark.parametrize(("mean", "std", "scale"), [((0.5,), (0.0,), 1.0), ((0.5, 0.5), (1.0,), 1.0), ((), (), 1.0)])
def test_impossible_normalisations_are_refused(mean, std, scale):
    with pytest.raises(ValueError, match="Normalise"):
        Normalise(mean, std, scale)


def test_fingerprint_sees_every_part():
    split = Split(torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]), torch.arange(2))
    changed = [
        replace(split, images=torch.ones(2, 1, 1, 1)),
        replace(split, images=split.images.double()),
        replace(split, labels=torch.tensor([1, 0])),
        replace(split, indices=torch.tensor([0, 2])),
    ]
    prints = {content_fingerprint(each) for each in (split, *changed)}
    assert len(prints) == 5


def test_a_split_of_unequal_parts_is_refused():
    with pytest.raises(ValueError, match="as many labels and indices as images"):
        Split(torch.zeros(2, 1, 1, 1), torch.tensor([0]), torch.arange(2))


def test_shares_add_up_and_stay_within_one_of_exact():
    sizes = torch.tensor([100, 7, 1, 0, 33])
    for total in range(int(sizes.sum()) + 1):
        given = shares(sizes, total)
        assert int(given.sum()) == total
        assert bool((given <= sizes).all())
        assert float((given - sizes.double() * total / sizes.sum()).abs().max()) < 1


def test_stratified_sample_and_the_rest_part_the_whole():
    labels = torch.tensor([0, 1, 2] * 10)
    taken = stratified(labels, 9, seed=0, purpose="test")
    assert labels[taken].bincount().tolist() == [3, 3, 3]
    assert sorted([*taken.tolist(), *without(30, taken).tolist()]) == list(range(30))
    with pytest.raises(ValueError, match="between 0 and the 30 examples"):
        stratified(labels, 31, seed=0, purpose="test")


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_impossible_fractions_are_refused(fraction):
    with pytest.raises(ValueError, match="fraction in"):
        digits(valid=fraction)
    with pytest.raises(ValueError, match="fraction in"):
        digits(test=fraction)
    with pytest.raises(ValueError, match="fraction in"):
        gaussians(test=fraction)


def test_impossible_clouds_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        gaussians(num_classes=1)


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        build("digit")
    with pytest.raises(ValueError, match="its own arguments"):
        build("digits", size=3)
    with pytest.raises(UnknownNameError, match="Known: test, train, valid"):
        digits().split("validation")
    published = {"cifar10", "cifar100", "fashion_mnist", "mnist", "tiny_imagenet"}
    assert set(DATASETS) == published | {"digits", "gaussians", "image_folder"}
