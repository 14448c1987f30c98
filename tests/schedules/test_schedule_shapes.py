"""Sparsity schedules: the published numbers, and what holds for every shape."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from itertools import pairwise

import pytest

from flowprune.core.errors import UnknownNameError
from flowprune.schedules import SCHEDULES, build, counts, exponential, linear, manual, one_shot, rounds

MANY = [(name, n, p) for name in SCHEDULES for n in (1, 2, 7, 25, 100) for p in (0.0, 1e-9, 0.3, 0.75, 0.956, 0.9999)]
ONLY = {"one_shot": lambda n: n == 1, "adaptive": lambda n: n > 1}
POSSIBLE = [(name, n, p) for name, n, p in MANY if ONLY.get(name, lambda _: True)(n)]


@pytest.mark.parametrize(
    ("p", "n", "remaining"),
    [
        (0.60, 5, [0.769, 0.625, 0.526, 0.455, 0.400]),
        (0.60, 25, [0.943, 0.893, 0.848, 0.807, 0.769]),
        (0.75, 5, [0.625, 0.455, 0.357, 0.294, 0.250]),
        (0.75, 25, [0.893, 0.807, 0.735, 0.676, 0.625]),
        (0.90, 25, [0.735, 0.581, 0.481, 0.410, 0.357]),
    ],
)
def test_harmonic_rounds_leave_what_the_gradient_flow_paper_left(p, n, remaining):
    left = [1 - target for target in rounds(n, sparsity=p).targets()]
    assert left[:5] == pytest.approx(remaining, abs=6e-4)


def test_harmonic_rounds_remove_the_stated_fraction_of_what_is_left():
    p, n = 0.75, 25
    left = [1.0, *(1 - target for target in rounds(n, sparsity=p).targets())]
    for k, (before, after) in enumerate(pairwise(left), start=1):
        assert 1 - after / before == pytest.approx(p / (k * p + n * (1 - p)))


def test_exponential_schedule_of_the_loss_models():
    expected = [
        0.19997, 0.35996, 0.48795, 0.59035, 0.67227, 0.73781, 0.79024,
        0.83219, 0.86574, 0.89259, 0.91407, 0.93125, 0.94500, 0.95600,
    ]  # fmt: skip
    assert exponential(14, sparsity=0.956).targets() == pytest.approx(expected, abs=6e-6)


def test_stage_counts_of_the_loss_models_on_vgg11():
    n = 9_217_728 + 529_408  # weights of the convolutions and of the three linear layers
    per_stage = [b - a for a, b in pairwise((0, *counts(linear(14, sparsity=0.956).targets(), n)))]
    assert set(per_stage) <= {665_590, 665_591}
    done = counts(exponential(14, sparsity=0.956).targets(), n)
    assert (done[0], done[1] - done[0], done[-1] - done[-2]) == (1_949_180, 1_559_393, 107_201)


@pytest.mark.parametrize(("name", "n", "p"), POSSIBLE)
def test_every_schedule_ends_exactly_at_its_sparsity_and_never_puts_back(name, n, p):
    targets = build(name, rounds=n, sparsity=p).targets()
    assert len(targets) == n
    assert targets[-1] == p
    assert all(a <= b for a, b in pairwise((0.0, *targets)))
    assert build(name, rounds=n).targets(p) == targets


@pytest.mark.parametrize(("name", "n", "p"), [case for case in POSSIBLE if 0 < case[2] < 0.5 and case[1] > 1])
def test_sparsity_is_the_fraction_removed_never_the_fraction_kept(name, n, p):
    """RT-1: with density for sparsity, a small sparsity would remove nearly everything."""
    assert all(0 < target <= p < 0.5 for target in build(name, rounds=n, sparsity=p).targets())


def test_counts_are_rounded_once_and_never_compound():
    """Q2, Q28: the reference code truncated in every round, and cut 98 % where 90 % was asked for."""
    generator = random.Random(0)
    for _ in range(200):
        p, n, size = generator.uniform(0, 0.999), generator.randint(1, 40), generator.randint(1, 3000)
        done = counts(rounds(n, sparsity=p).targets(), size)
        assert done[-1] == round(p * size)
        assert all(a <= b for a, b in pairwise((0, *done)))


@pytest.mark.parametrize("sparsity", [1.0, 1.5, -0.1, float("nan"), float("inf"), True, "0.5"])
def test_a_sparsity_outside_its_range_is_refused(sparsity):
    with pytest.raises(ValueError, match=r"must be a number in \[0, 1\); got .*pass sparsity=1-d"):
        linear(3, sparsity=sparsity)
    with pytest.raises(ValueError, match=r"must be a number in \[0, 1\); got .*pass sparsity=1-d"):
        linear(3).targets(sparsity)


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "5"])
def test_a_number_of_rounds_that_is_none_is_refused(n):
    with pytest.raises(ValueError, match="whole number >= 1"):
        rounds(n, sparsity=0.5)


def test_a_conflicting_sparsity_is_refused():
    schedule = rounds(5, sparsity=0.75)
    assert schedule.targets(0.75) == schedule.targets()
    with pytest.raises(ValueError, match=r"must be the schedule's own 0.75; got 0.9"):
        schedule.targets(0.9)


def test_a_missing_sparsity_is_refused():
    with pytest.raises(ValueError, match="must be given"):
        rounds(5).targets()


def test_manual_schedule_is_its_own_targets():
    schedule = manual((0.1, 0.5, 0.8))
    assert schedule.targets() == (0.1, 0.5, 0.8)
    assert (schedule.rounds, schedule.sparsity) == (3, 0.8)
    with pytest.raises(ValueError, match=r"own 0\.8"):
        schedule.targets(0.9)


@pytest.mark.parametrize("cumulative", [(), (0.5, 0.4), (0.5, 1.0)])
def test_manual_schedule_refuses_what_is_not_cumulative(cumulative):
    with pytest.raises(ValueError, match="cumulative"):
        manual(cumulative)


@pytest.mark.parametrize("schedule", [rounds(5, 0.5), manual((0.2, 0.5)), one_shot(0.5)])
def test_a_schedule_is_a_value(schedule):
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert hash(schedule) == hash(pickle.loads(pickle.dumps(schedule)))


@pytest.mark.parametrize(("targets", "n"), [((0.5, 0.4), 10), ((1.0,), 10), ((0.5,), -1)])
def test_counts_refuse_what_is_no_schedule(targets, n):
    with pytest.raises(ValueError, match="counts"):
        counts(targets, n)


def test_one_shot_has_one_round():
    assert build("one_shot", rounds=1, sparsity=0.9).targets() == (0.9,)
    with pytest.raises(ValueError, match="must be 1; got 3"):
        build("one_shot", rounds=3, sparsity=0.9)


def test_an_unknown_schedule_lists_the_known():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'cubic'\? Known: adaptive, cubic, exponential"):
        build("cubik", rounds=3)


@pytest.mark.parametrize("package", ["schedules", "models", "data"])
def test_listing_names_imports_no_torch(package):
    code = f"import sys, flowprune.{package} as p; dir(p); print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
