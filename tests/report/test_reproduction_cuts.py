"""Claims on what cuts and steps do, against fabricated rows whose answer is known."""

from __future__ import annotations

import math

import pytest

from flowprune.report.reproduction import markdown
from tests.report.claimed import BY_NAME, dense, pruned, verdicts


def kept(measure, *counts, temperature=None):
    """Six layers of ten units; the last layer of seed 1 keeps one more."""
    return [
        row
        for s in range(3)
        for row in (
            *(
                pruned(
                    "layer", measure, s, temperature=temperature, round=5, layer=f"l.{i}", units=10,
                    kept=k + (s == 1) * (i == 5),
                )
                for i, k in enumerate(counts)
            ),
            pruned("layer", measure, s, temperature=temperature, round=1, layer="l.0", units=10, kept=10),
        )
    ]  # fmt: skip


def test_early_layers_are_the_first_third_and_are_held_against_every_other_measure():
    increase = kept("gradient_norm_increase", 1, 1, 5, 5, 5, 5)
    rows = increase + kept("gradient_norm_preservation", 9, 9, 5, 5, 5, 5)
    (within,) = BY_NAME["increase cuts early layers"].cases(rows)
    assert within.where.endswith("grad-norm increase (T = 200)")
    assert within.interval.mean == pytest.approx(40.0 + 2.5 / 3)  # 5 and 5.25 of 10 against 1
    assert within.verdict == "holds"
    name = "increase cuts early layers more than every other measure"
    (beyond,) = BY_NAME[name].cases(rows)
    assert (beyond.interval.mean, beyond.verdict) == (pytest.approx(80.0), "holds")
    assert verdicts(name, rows + kept("magnitude", 0, 0, 5, 5, 5, 5))[0][1] == "does not hold"
    warm = kept("gradient_norm_increase", 9, 9, 5, 5, 5, 5, temperature=1.0)
    assert [verdict for _, verdict in verdicts("increase cuts early layers", rows + warm)] == ["holds", "does not hold"]


def cuts(measure, *changes, key="loss_change", temperature=None, seeds=3, **more):
    """A run of each seed with a cut for each predicted and measured change."""
    return [
        pruned(
            "cut", measure, s, temperature=temperature, round=i, **more,
            **{f"predicted_{key}": a, f"measured_{key}": b + 0.001 * s * (b > 0)},
        )
        for s in range(seeds)
        for i, (a, b) in enumerate(changes, start=1)
    ]  # fmt: skip


SIGNS = {"loss_change": "the loss changes in the predicted direction",
         "gradient_norm2_change": "the gradient norm changes in the predicted direction"}  # fmt: skip


@pytest.mark.parametrize(("key", "name"), SIGNS.items())
def test_always_saying_the_same_is_no_skill_however_often_it_is_right(key, name):
    """Of six cuts five fall: “falls”, said of each, is right in 83 %, and tells nothing."""
    rows = cuts("magnitude", *[(-1.0, -1.0)] * 5, (-1.0, 1.0), key=key)
    (found,) = BY_NAME[name].cases(rows)
    assert found.interval.mean == pytest.approx(0.0)
    assert found.verdict == "does not hold"
    assert found.note == "sign right in 83 % of 18 cuts, always saying “falls” in 83 %"


@pytest.mark.parametrize(("key", "name"), SIGNS.items())
def test_predicted_signs_are_told_measure_by_measure(key, name):
    right = cuts("magnitude", (1.0, 2.0), (-1.0, -1.0), key=key)
    wrong = cuts("biased_loss", (-1.0, 2.0), (1.0, -1.0), key=key)
    rows = right + wrong + cuts("gradient_norm_increase", (1.0, 2.0), key=key)
    told = [(case.where.rpartition(", ")[2], case.verdict) for case in BY_NAME[name].cases(rows)]
    assert told == [
        ("magnitude", "holds"),
        ("biased loss", "does not hold"),
        ("grad-norm increase (T = 200)", "not testable"),  # all of one sign
    ]
    assert "100 % of 3 cuts, always saying “rises” in 100 %" in BY_NAME[name].cases(rows)[2].note


def test_weights_and_channels_and_data_sets_are_never_pooled():
    rows = cuts("magnitude", (1.0, 2.0), (-1.0, -1.0))
    rows += [{**row, "granularity": "weights"} for row in cuts("magnitude", (1.0, -2.0), (-1.0, 1.0))]
    told = verdicts("the loss changes in the predicted direction", rows)
    assert told == [
        ("vgg13 on cifar10, 75 % of channels removed, magnitude", "holds"),
        ("vgg13 on cifar10, 75 % of weights removed, magnitude", "does not hold"),
    ]


def test_changes_are_ranked_within_each_run():
    rows = cuts("magnitude", (1.0, 10.0), (2.0, 20.0), (3.0, 30.0)) + cuts("obd", (3.0, 1.0), (2.0, 2.0), (1.0, 3.0))
    told = [verdict for _, verdict in verdicts("changes of the loss are ranked as predicted", rows)]
    assert told == ["holds", "does not hold"]


def first_cuts(value, measure, temperature=None, before=1.0, **more):
    return [
        pruned("cut", measure, s, temperature=temperature, round=1, loss=before,
               measured_loss_change=value + 0.001 * s * (measure != "magnitude"), **more)
        for s in range(3)
    ]  # fmt: skip


def test_losses_are_compared_at_one_temperature_only():
    increase, kept_norm = "gradient_norm_increase", "gradient_norm_preservation"
    cold, warm = (f"increase (T = {t}) raises the loss more than preservation" for t in (200, 1))
    rows = first_cuts(0.5, increase, 1.0) + first_cuts(0.2, increase) + first_cuts(0.3, kept_norm)
    assert verdicts(warm, rows)[0][1] == "undecided" or verdicts(warm, rows)[0][1] == "holds"
    (apart,) = BY_NAME[cold].cases(rows)
    assert apart.verdict == "not testable"
    assert "temperature that the measure was scored at" in apart.note
    common = {"trained_loss": 1.0}
    both = first_cuts(9.0, increase, **common, measured_trained_loss_change=0.1)
    both += first_cuts(0.3, kept_norm, **common, measured_trained_loss_change=0.4)
    (found,) = BY_NAME[cold].cases(both)
    assert (round(found.interval.mean, 6), found.verdict) == (-0.3, "does not hold")


def test_a_loss_above_that_of_a_blind_guess_decides_nothing_and_is_shown():
    rows = first_cuts(0.5, "gradient_norm_increase", 1.0, before=8.5)
    rows += first_cuts(0.1, "gradient_norm_preservation", before=8.5)
    for name in ("increase (T = 1) raises the loss more than preservation", "preservation keeps the loss"):
        (found,) = BY_NAME[name].cases(rows)
        assert found.verdict == "not testable"
        assert found.interval.mean == pytest.approx(0.4)
        assert found.note.startswith(
            f"the loss before the cut is above ln C, that of a blind guess (8.5 against {math.log(10):.1f}"
        )
    (own,) = BY_NAME["increase raises the loss"].cases(rows)
    assert (own.verdict, own.note.rpartition("; ")[2]) == ("not testable", "it rose in 3 of 3 cuts")
    hundred = [{**row, "dataset": "cifar100", "loss": 4.0} for row in rows]  # ln 100 = 4.6
    assert verdicts("increase raises the loss", hundred)[0][1] == "holds"


def test_what_increase_does_to_loss_and_gradient_norm_is_told_by_sign_and_share():
    rows = cuts("gradient_norm_increase", (1.0, 0.2), (1.0, 0.4), loss=2.0)
    assert verdicts("increase raises the loss", rows)[0][1] == "holds"
    norms = cuts("gradient_norm_increase", (1.0, -4.0), (1.0, -2.0), key="gradient_norm2_change", gradient_norm2=8.0)
    (found,) = BY_NAME["increase raises the gradient norm"].cases(norms)
    assert (found.interval.mean, found.verdict, found.note) == (-0.375, "does not hold", "it rose in 0 of 6 cuts")
    warm = cuts("gradient_norm_increase", (1.0, -4.0), key="gradient_norm2_change", gradient_norm2=8.0, temperature=1.0)
    still = cuts("gradient_norm_preservation", (1.0, 2.0), key="gradient_norm2_change", gradient_norm2=8.0)
    (kept_norm,) = BY_NAME["preservation keeps the gradient norm"].cases(warm + still)
    assert kept_norm.interval.mean == pytest.approx(0.5 - 0.25 - 0.001 / 8)


def test_loss_preservation_is_held_to_its_name():
    rows = first_cuts(-0.5, "magnitude") + first_cuts(0.1, "loss_preservation")
    (found,) = BY_NAME["loss preservation preserves the loss"].cases(rows)
    assert (found.interval.mean, found.verdict) == (pytest.approx(0.5 - 0.101), "holds")


def flows(*moments, **more):
    """Moments with a predicted and a measured second derivative, of three dense runs."""
    return [
        dense("flow", s, epoch=e, velocity=1.0, measured_velocity=1.0, acceleration=a, measured_acceleration=b, **more)
        for s in range(3)
        for e, (a, b) in enumerate(moments)
    ]


def test_derivatives_are_right_at_nine_moments_of_ten_not_in_the_median():
    rows = flows(*[(1.0, 1.001)] * 6, *[(1.0, 90.0)] * 4)
    third, fourth = BY_NAME["derivatives of the norm are computed right"].cases(rows)
    assert (third.where, third.verdict) == ("vgg13 on cifar10, E3", "holds")
    assert (fourth.interval.mean, fourth.verdict) == (pytest.approx(-30.0), "does not hold")
    assert fourth.note.endswith("differences not checked by halving the step")


def test_a_difference_that_half_its_step_does_not_give_is_left_out_and_counted():
    rows = [
        {**row, "measured_acceleration_half_step": 1.0 if row["measured_acceleration"] == 1.0 else 180.0}
        for row in flows(*[(1.0, 1.0)] * 6, *[(1.0, 90.0)] * 4)
    ]
    found = BY_NAME["derivatives of the norm are computed right"].cases(rows)[1]
    assert (found.interval.mean, found.verdict) == (pytest.approx(10.0), "holds")
    assert found.note.endswith("12 of 30 moments left out, as halving the step changes them")


def test_real_steps_are_told_correction_by_correction():
    rows = [
        dense(
            "training_flow", s, epoch=e, measured=10.0, flow=1.0, decay=-1.0, step_size=1.0, effective=9.5, momentum=10
        )
        for s in range(3)
        for e in range(4)
    ]
    found = BY_NAME["real steps follow gradient flow"].cases(rows)
    told = {case.where.partition(", ")[2]: case.verdict for case in found}
    assert list(told.values()) == ["does not hold"] * 3 + ["holds"] * 2
    assert found[1].note.endswith("sign right at 0, the norm rose at 12 of 12")


def test_a_note_and_what_is_not_testable_stand_on_the_page():
    page = markdown(cuts("magnitude", (1.0, 2.0)))
    where = "| vgg13 on cifar10, 75 % of channels removed, magnitude"
    assert f"{where} | – | – | 0 | not testable | no run has changes of both signs; sign right" in page
    assert "| where | mean | 95 % interval | n | verdict | note |" in page
