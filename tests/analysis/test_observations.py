"""The five observations on models for which each must hold, and on models for which it must fail."""

import math

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.analysis import Observation, Observations, ShortTraining, observations, student_interval
from flowprune.analysis.probe import masked

ONE_STEP = ShortTraining(steps=1, learning_rate=0.01, momentum=0.0)


class Quadratic(nn.Module):
    """L = ½ Σ h (θ - c)²: g = h(θ - c), Hg = h²(θ - c); cutting θ_i changes L by ½ h (2cθ - θ²)."""

    def __init__(self, theta, centre, curvature=None):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([theta], dtype=torch.float64))
        self.register_buffer("centre", torch.tensor([centre], dtype=torch.float64))
        ones = torch.ones_like(self.centre)
        self.register_buffer("curvature", ones if curvature is None else ones * torch.tensor(curvature))

    def forward(self, x):
        """The loss, for each example."""
        return 0.5 * (self.curvature * (self.weight - self.centre).square()).sum() * torch.ones_like(x)


def itself(forward, batch):
    return forward(batch[0]).mean()


def alike(seed):
    """The same two batches for every seed: the loss of a quadratic does not depend on them."""
    return [(torch.zeros(2, dtype=torch.float64), torch.zeros(2))] * 2


def look(model, **options) -> Observations:
    given = {"granularity": fp.Weights(), "seeds": 3, "training": ONE_STEP} | options
    return observations(model, itself, alike, **given)


def numbered(model, number: int, **options) -> Observation:
    found = look(model, **options).observations[number - 1]
    assert found.number == number
    return found


# 1: what each cut leaves is trained; a weight that is cut costs ½c² for good.


@pytest.mark.parametrize(
    ("centre", "verdict", "by_loss", "by_magnitude"),
    [
        # θ = 2, 2, 1, 1. Magnitude cuts the ones. Loss preservation cuts |θ(θ - c)| = 0, 0, ½, ½: the twos.
        ((2.0, 2.0, 1.5, 1.5), "holds", (4.0, 0.25), (2.25, 0.0)),
        # |θ(θ - c)| = .2, .2, 3, 3: the twos again, which cost ½ 1.9² each; the ones cost ½ 4² each.
        ((1.9, 1.9, 4.0, 4.0), "does not hold", (3.61, 9.0), (16.0, 0.01)),
    ],
)
def test_1_is_the_difference_of_mean_losses_of_the_two_cuts(centre, verdict, by_loss, by_magnitude) -> None:
    """Each pair: the loss of what is cut, for good, and of what is kept, which falls by (1 - η)² a step."""
    steps, rate = 6, 0.1
    training = ShortTraining(steps=steps, learning_rate=rate, momentum=0.0)
    found = numbered(Quadratic((2.0, 2.0, 1.0, 1.0), centre), 1, training=training)
    kept = sum((1 - rate) ** (2 * step) for step in range(steps)) / steps
    means = [lost + left * kept for lost, left in (by_loss, by_magnitude)]
    assert found.details["mean_loss_loss_preservation"] == pytest.approx(means[0], rel=1e-12)
    assert found.details["mean_loss_magnitude"] == pytest.approx(means[1], rel=1e-12)
    assert found.value == pytest.approx(means[0] - means[1], rel=1e-12)
    assert found.details["overlap"] == 0.0
    assert found.verdict == verdict
    before = 0.5 * sum((t - c) ** 2 for t, c in zip((2.0, 2.0, 1.0, 1.0), centre, strict=True))
    assert found.details["change_magnitude"] == pytest.approx(sum(by_magnitude) - before, rel=1e-12)


# 2: in one small step, Δθ² = -2ηθg; over many, θ² arrives at c², however small the gradient was.


def test_2_is_exact_for_a_small_step() -> None:
    found = numbered(Quadratic((1.0, 2.0, 3.0, 4.0, 5.0), (1.1, 2.4, 2.7, 5.0, 4.9)), 2)
    assert found.value == 1.0
    assert found.verdict == "holds"
    assert "strong" in found.advice


def test_2_fails_where_slow_weights_go_far() -> None:
    """θ = 1, c = 1 + k, h = 1/k²: |θg| = 1/k falls with k, and |Δθ²| = (1 + k)² - 1 rises."""
    far = [1.0, 2.0, 3.0, 4.0]
    model = Quadratic([1.0] * 4, [1 + k for k in far], [1 / k**2 for k in far])
    arrived = ShortTraining(steps=400, learning_rate=1.0, momentum=0.0)
    found = numbered(model, 2, training=arrived)
    assert found.value == -1.0
    assert found.verdict == "does not hold"
    assert "strong and negative" in found.advice
    assert numbered(model, 2).verdict == "holds"  # of the first step alone, on the same model


# 3: |θ| against |θ(θ - c)|.


@pytest.mark.parametrize(
    ("power", "value", "verdict"),
    [(0.0, 1.0, "holds"), (-2.0, -1.0, "does not hold")],  # |θ - c| = θ^power, so the importance is θ^(1 + power)
)
def test_3_is_the_correlation_of_the_two_measures(power, value, verdict) -> None:
    theta = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    found = numbered(Quadratic(theta, [t - t**power for t in theta]), 3)
    assert found.value == value
    assert found.verdict == verdict
    assert found.details["spearman_per_layer"] == value
    assert found.details["overlap"] == (1.0 if value > 0 else 0.0)
    assert found.details["overlap_by_chance"] == 0.5


def test_3_says_what_the_shared_factor_alone_would_give() -> None:
    """With |g| the same everywhere, any deal of it to the weights gives back |θg|: the factor is all there is."""
    theta = [1.0, 2.0, 3.0, 4.0]
    assert numbered(Quadratic(theta, [t - 1.0 for t in theta]), 3).details["spearman_by_shared_factor"] == 1.0
    apart = numbered(Quadratic(theta, [t - 100.0 ** (-t) for t in theta]), 3).details["spearman_by_shared_factor"]
    assert apart < 1.0


# 4: two weights, one of them cut; at random either goes.


@pytest.mark.parametrize(
    ("centre", "curvature", "verdict"),
    [
        # θ = 1, 1. θ·Hg = h²(1 - c) = -1, ½: the first goes and costs ½(2c - 1) = 1.5; the other would gain nothing.
        ((2.0, 0.5), (1.0, 1.0), "holds"),
        # θ·Hg = -0.1, 40: the first goes and costs ½ 1.2 = 0.6; the other would cost ½ 10 (0.2) = 1.
        ((1.1, 0.6), (1.0, 10.0), "does not hold"),
    ],
)
def test_4_is_the_cost_of_the_cut_beyond_that_of_chance(centre, curvature, verdict) -> None:
    found = numbered(Quadratic((1.0, 1.0), centre, curvature), 4, seeds=12)
    first, second = (0.5 * h * (2 * c - 1) for c, h in zip(centre, curvature, strict=True))
    assert found.details["change_gradient_norm_increase"] == pytest.approx(first, rel=1e-12)
    drawn = (found.details["change_random"] - second) / (first - second) * 12 * 5  # of five draws in twelve seeds
    assert drawn == pytest.approx(round(drawn), abs=1e-9)
    assert 15 <= round(drawn) <= 45
    assert found.value == pytest.approx((first - second) * (1 - round(drawn) / 60), rel=1e-9)
    assert found.verdict == verdict


def test_4_cuts_as_many_of_each_layer_at_random() -> None:
    """A layer of which the measure cuts nothing is left whole by the control too: its loss would show."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = Quadratic((1.0, 1.0), (2.0, 2.0)), Quadratic((100.0, 100.0), (99.0, 99.0))

        def forward(self, x):
            return self.a(x) + self.b(x)

    found = numbered(Two(), 4, sparsity=0.25)  # one of four: of a, where either costs 1.5
    assert found.details["change_random"] == pytest.approx(1.5)
    assert found.value == pytest.approx(0.0)


# 5: signed, the most negative θ·Hg goes; absolute, the smallest.


@pytest.mark.parametrize(
    ("theta", "centre", "value", "verdict"),
    [
        # θ·Hg = -2, 0.1. Increase cuts the first, ½ 3² = 4.5, and keeps ½ 0.1²; preservation the second.
        ((1.0, 1.0), (3.0, 0.9), (4.5 + 0.005) - (0.405 + 2.0), "holds"),
        # θ·Hg = -¼, 0. Increase cuts the first, ½; preservation the second, 4.5, and keeps ½ ½².
        ((0.5, 3.0), (1.0, 3.0), 0.5 - (4.5 + 0.125), "does not hold"),
    ],
)
def test_5_is_the_difference_of_losses_after_the_two_cuts(theta, centre, value, verdict) -> None:
    found = numbered(Quadratic(theta, centre), 5)  # one step: the loss before it
    assert found.value == pytest.approx(value, rel=1e-12)
    assert found.verdict == verdict


# Verdicts, intervals, seeds.


def test_students_interval_by_hand() -> None:
    """1, 2, 3: s = 1, t(0.975; 2) = 4.30265273, so 2 ± 4.30265273 / √3."""
    found = student_interval([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.high - 2.0 == pytest.approx(4.30265273 / math.sqrt(3), rel=1e-8)
    assert 2.0 - found.low == pytest.approx(found.high - 2.0)
    assert student_interval([]) == (None, None, None, 0)
    with pytest.raises(ValueError, match="finite"):
        student_interval([1.0, math.nan])
    with pytest.raises(ValueError, match=r"in \(0, 1\)"):
        student_interval([1.0, 2.0], confidence=1.0)


def noisy(centres):
    """Batches whose number moves the centre of the second weight: seeds differ in the sign of Observation 5."""
    return lambda seed: [(torch.full((2,), centres[seed], dtype=torch.float64), None)] * 2


class Shifted(Quadratic):
    def forward(self, x):
        """As a quadratic, its second centre at x."""
        centre = torch.stack([self.centre[0, 0], x.mean()])
        return 0.5 * (self.weight[0] - centre).square().sum()


def by_value(forward, batch):
    return forward(batch[0])


def test_the_interval_is_over_seeds_and_one_that_reaches_zero_decides_nothing() -> None:
    """θ = 1, 1, c = 3, x: signed cuts the first while x < 3, absolute the second while |1 - x| < 2."""
    values = [(4.5 + 0.5 * (1 - x) ** 2) - (2.0 + 0.5 * x**2) for x in (0.5, 2.0, 2.9)]  # = 3 - x
    model = Shifted((1.0, 1.0), (3.0, 0.0))
    options = {"granularity": fp.Weights(), "training": ONE_STEP, "seeds": 3}
    found = observations(model, by_value, noisy((0.5, 2.0, 2.9)), **options).observations[4]
    expected = student_interval(values)
    assert (found.value, found.low, found.high) == pytest.approx(expected[:3])
    assert found.verdict == "undecided"
    assert expected.low < 0 < expected.high
    narrow = observations(model, by_value, noisy((0.5, 2.0, 2.9)), confidence=0.5, **options).observations[4]
    assert narrow.verdict == "holds"


def test_one_seed_gives_no_interval_and_no_verdict() -> None:
    for found in look(Quadratic((1.0, 2.0, 3.0), (2.0, 1.0, 2.5)), seeds=1):
        assert (found.n, found.low, found.high, found.verdict) == (1, None, None, None)
        assert found.value is not None
        assert "at least two seeds" in found.advice
        assert "no verdict" in str(found)


def test_a_short_training_that_diverges_is_counted_and_decides_nothing() -> None:
    """θ - c grows by |1 - η| = 1e100 a step: infinite at the third."""
    model = Quadratic((1.0, 2.0, 3.0, 4.0), (2.0, 1.0, 2.5, 3.0))
    wild = ShortTraining(steps=5, learning_rate=1e100, momentum=0.0)
    found = look(model, training=wild)
    for each in found:
        trains = each.number in (1, 2, 5)
        assert each.diverged == (3 if trains else 0)
        assert each.n == (0 if trains else 3)
        assert (each.value is None) == trains
        assert (each.verdict is None) == trains
        assert ("diverged in 3 of 3 seeds" in each.advice) == trains
    row = found.to_rows()[0]
    assert row["value"] is None
    assert row["detail_mean_loss_magnitude"] is None
    assert math.isfinite(row["detail_change_magnitude"])


def test_seeds_that_diverged_leave_a_claim_undecided() -> None:
    """Two seeds of three are fine and agree; the third makes the sample unfair."""

    class Steep(Quadratic):
        def forward(self, x):
            return super().forward(x) * x.mean()

    def sample(seed):
        scale = 1e200 if seed == 2 else 1.0
        return [(torch.full((2,), s, dtype=torch.float64), None) for s in (1.0, scale)]

    options = {"granularity": fp.Weights(), "training": ShortTraining(3, 0.1, 0.0), "seeds": 3}
    found = observations(Steep((1.0, 1.0), (3.0, 0.9)), itself, sample, **options).observations[4]
    assert (found.n, found.diverged, found.verdict) == (2, 1, "undecided")
    assert found.low > 0
    assert "diverged in 1 of 3" in found.advice


def test_two_cuts_that_are_one_leave_nothing_to_decide() -> None:
    """θ·Hg = 0.1, 3, both positive: signed and absolute scores are the same."""
    found = numbered(Quadratic((1.0, 2.0), (0.9, 0.5)), 5)
    assert (found.value, found.low, found.high, found.verdict) == (0.0, 0.0, 0.0, "undecided")
    assert found.details["overlap"] == 1.0
    assert "nothing to decide" in found.advice


def test_scores_without_an_order_give_no_correlation() -> None:
    found = numbered(Quadratic((1.0, 1.0, 1.0, 1.0), (2.0, 2.0, 2.0, 2.0)), 3)
    assert (found.n, found.value, found.verdict, found.diverged) == (0, None, None, 0)
    assert "all scores are equal" in found.advice


def test_what_masks_hold_already_is_no_unit_and_stays_cut() -> None:
    """θ = 0 held, 1, 2, 3, 4: half of four go, and the correlations are of four."""
    model = Quadratic((9.0, 1.0, 2.0, 3.0, 4.0), (5.0, 0.9, 1.8, 2.7, 3.6))
    fp.apply(model, {"weight": torch.tensor([[False, True, True, True, True]])})
    found = look(model)
    assert found.units == 4
    assert found.observations[2].value == 1.0
    # The masked weight costs ½ 5² before and after: the cut of 1 and 2 changes ½ (2cθ - θ²) = 0.4, 1.6.
    assert found.observations[0].details["change_magnitude"] == pytest.approx(0.4 + 1.6)
    fresh = fp.select(fp.score("magnitude", fp.gather(model, itself, (), needs=())), 0.4)
    assert masked(model, fresh).weight.tolist() == [[0.0, 0.0, 2.0, 3.0, 4.0]]


def test_what_is_cut_already_is_never_cut_in_place_of_what_is_alive() -> None:
    """Signed scores of live weights, -2 here, lie below the 0 of dead ones: half of four go, and never three."""
    model = Quadratic((9.0, 1.0, 1.0, 1.0, 1.0), (5.0, 2.0, 2.0, 2.0, 2.0))
    fp.apply(model, {"weight": torch.tensor([[False, True, True, True, True]])})
    found = numbered(model, 4)
    assert found.details["change_gradient_norm_increase"] == pytest.approx(2 * 1.5)
    assert found.details["change_random"] == pytest.approx(2 * 1.5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sparsity": 0.0}, r"sparsity=\) must be in \(0, 1\)"),
        ({"sparsity": "half"}, r"sparsity=\) must be in \(0, 1\)"),
        ({"sparsity": 0.01}, "at least one of 4 units"),
        ({"seeds": 0}, r"seeds=\) must be a whole number >= 1"),
        ({"seeds": True}, r"seeds=\) must be a whole number >= 1"),
        ({"confidence": 95}, r"confidence=\) must be in \(0, 1\)"),
        ({"granularity": "weights"}, r"granularity=\) must be fp.Weights"),
        ({"training": 20}, r"training=\) must be a flowprune.analysis.ShortTraining"),
    ],
)
def test_bad_arguments_are_refused(options, said) -> None:
    with pytest.raises(ValueError, match=said):
        look(Quadratic((1.0, 2.0, 3.0, 4.0), (2.0, 1.0, 2.5, 3.0)), **options)


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("steps", 2.5), ("learning_rate", 0.0), ("learning_rate", math.inf), ("momentum", 1.0)],
)
def test_a_short_training_refuses_what_is_no_training(field, value) -> None:
    with pytest.raises(ValueError, match=rf"ShortTraining\({field}=\)"):
        ShortTraining(**{field: value})


# scored otherwise than trained


def test_a_measure_may_be_scored_with_another_objective_than_it_is_trained_with() -> None:
    """θ·(Hg) = h²θ² is 4 and 1.21, so the second weight goes; scored with h = 41.1 for it, the first does."""
    model = Quadratic((2.0, 1.0), (0.0, 0.0), (1.0, 1.1))

    def steep(forward, batch):
        return forward(batch[0]).mean() + 20.0 * model.weight[0, 1].square()

    plain = numbered(model, 4)
    named = ("change_gradient_norm_increase", "change_lowest_signed_first_order")
    found = numbered(model, 4, scored_with={"gradient_norm_increase": steep})
    assert [plain.details[name] for name in named] == pytest.approx([-0.55, -0.55])  # the weight at 1: ½ 1.1
    assert [found.details[name] for name in named] == pytest.approx([-2.0, -0.55])  # the weight at 2, but for θ·g
    preserved = numbered(model, 5, scored_with={"gradient_norm_increase": steep}).details
    assert preserved["change_gradient_norm_preservation"] == pytest.approx(-0.55)


@pytest.mark.parametrize("given", [{"magnitude": itself}, {"grasp": itself}, {"loss_preservation": 200.0}, itself])
def test_what_cannot_be_scored_otherwise_is_refused(given) -> None:
    with pytest.raises(ValueError, match=r"observations\(scored_with=\)"):
        look(Quadratic((2.0, 1.0), (0.0, 0.0)), scored_with=given)
