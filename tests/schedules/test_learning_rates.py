"""Learning rates as closures."""

from __future__ import annotations

import pytest

from flowprune.schedules import lr


def test_the_published_learning_rates():
    rate = lr.steps(0.1, {"80ep": 0.01, "120ep": 0.001})
    by_epoch = [rate(epoch * 391, 391) for epoch in range(160)]
    assert by_epoch == [0.1] * 80 + [0.01] * 40 + [0.001] * 40


def test_milestones_may_be_iterations():
    rate = lr.steps(0.1, {"15it": 0.01, "2ep": 0.001})
    assert [rate(i, 10) for i in (0, 14, 15, 19, 20)] == [0.1, 0.1, 0.01, 0.01, 0.001]


def test_milestones_out_of_order_are_refused():
    rate = lr.steps(0.1, {"30it": 0.01, "2ep": 0.001})
    assert rate(0, 20) == 0.1
    with pytest.raises(ValueError, match="increasing order"):
        rate(0, 10)


def test_cosine_falls_from_one_end_to_the_other():
    rate = lr.cosine(0.2, "10ep", final=0.1)
    values = [rate(i, 5) for i in range(60)]
    assert values[0] == 0.2
    assert values[25] == pytest.approx(0.15)
    assert values[50:] == [0.1] * 10
    assert values == sorted(values, reverse=True)


def test_warmup_meets_the_rate_it_leads_to():
    plain = lr.cosine(0.2, "10ep")
    warmed = lr.warmup(plain, "2ep")
    assert warmed(0, 10) == pytest.approx(0.01)
    assert [warmed(i, 10) for i in range(19, 100)] == [plain(i, 10) for i in range(19, 100)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: lr.constant(0.0),
        lambda: lr.constant(float("nan")),
        lambda: lr.steps(-0.1, {}),
        lambda: lr.steps(0.1, {"80ep": float("inf")}),
        lambda: lr.steps(0.1, {"80": 0.01}),
        lambda: lr.cosine(0.1, "0ep"),
        lambda: lr.cosine(0.1, "5ep", final=0.2),
        lambda: lr.warmup(lr.constant(0.1), "0it"),
    ],
)
def test_impossible_rates_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()
