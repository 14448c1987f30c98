"""Sentences on a whole study: what holds, what is within the spread, what one seed cannot tell."""

from __future__ import annotations

import pytest

from flowprune.report.figures import FIGURES
from flowprune.report.sentences import convergence as speed_words
from flowprune.report.sentences import correlation as agreement_words
from flowprune.report.sentences import gradient_norm as norm_words
from flowprune.report.sentences import layers as layer_words
from flowprune.report.sentences import orders as order_words
from flowprune.report.sentences import training_flow as step_words
from flowprune.report.sentences import when as event_words
from flowprune.report.shapes.convergence import convergence
from flowprune.report.shapes.correlation import correlation
from flowprune.report.shapes.gradient_norm import gradient_norm
from flowprune.report.shapes.layers import layers
from flowprune.report.shapes.orders import orders
from flowprune.report.shapes.training_flow import training_flow
from flowprune.report.shapes.when import when
from tests.report import fabricate
from tests.report.test_study_shapes import agree, cut, epochs, looked, scatter, steps


def trained(measure, *ends, **more):
    """One run for each end: an epoch before its cut, one after."""
    return [row for seed, end in enumerate(ends) for row in epochs(measure, (0.2, end), seed=seed, **more)]


def speed(*rows):
    return speed_words.say(convergence([*(row for own in rows for row in own), cut("magnitude", 1)]))


def test_faster_is_said_where_the_gap_exceeds_the_spread():
    said = speed(trained("magnitude", 0.6, 0.62), trained("loss_preservation", 0.5, 0.52), trained("dense", 0.7, 0.7))
    assert "magnitude has the highest mean train accuracy over the epoch after the last cut (2), 61.0 ± 1.4 %" in said
    assert "against 51.0 ± 1.4 % for loss preservation (beyond the spread) (dense training: 70.0 ± 0.0 %)" in said
    assert said.endswith(
        "cut by magnitude train faster than those cut by loss preservation, as the founding paper reports."
    )


def test_the_opposite_is_said_as_plainly():
    said = speed(trained("magnitude", 0.5, 0.52), trained("loss_preservation", 0.6, 0.62))
    assert "cut by loss preservation train faster than those cut by magnitude, against what the founding paper" in said


def test_speeds_within_the_spread_or_of_one_seed_are_not_ranked():
    near = speed(trained("magnitude", 0.6, 0.5), trained("loss_preservation", 0.5, 0.6))
    assert "do not differ by more than the spread over seeds" in near
    single = speed(trained("magnitude", 0.6), trained("loss_preservation", 0.5))
    assert "whether magnitude trains faster is not told" in single
    assert "60.0 % (n = 1)" in single


def test_one_measure_alone_is_not_the_highest():
    said = speed(trained("magnitude", 0.6, 0.7))
    assert "magnitude has the mean train accuracy over" in said
    assert "highest" not in said
    assert "faster" not in said


def test_without_an_epoch_after_the_last_cut_no_speed_is_told():
    rows = [*epochs("magnitude", (0.5,)), cut("magnitude", 1)]
    assert "no epoch after the last cut" in speed_words.say(convergence(rows))


def test_correlations_are_told_at_the_moments_that_matter():
    rows = [agree(epoch, value) for epoch, value in ((0, -0.004), (3, 0.5), (6, 0.4), (9, 0.9))]
    rows += epochs("dense", (0.1,) * 6 + (0.01,) * 3, key="learning_rate")
    about = {"kind": "mask_distance", "measure": "dense", "run": "dense0", "of": "magnitude", "to": "previous"}
    rows += [{**about, "epoch": e, "distance": d, "at_sparsity": 0.75} for e, d in ((3, 0.3), (6, 0.1), (9, 0.04))]
    said = agreement_words.say(correlation(rows))
    assert (
        "0.00 before training, 0.50 after epoch 3, 0.40 before the learning rate falls (epoch 6), 0.90 at the end"
        " (epoch 9) (n = 1)"
    ) in said
    assert "magnitude 0.100 when the learning rate falls, 0.040 at the next record (near zero)." in said
    still = [{**row, "distance": 0.2} if row.get("epoch") == 9 and "to" in row else row for row in rows]
    assert "0.200 at the next record (still moving)" in agreement_words.say(correlation(still))


def test_masks_without_a_fall_of_the_learning_rate_are_told_at_their_last_record():
    about = {"kind": "mask_distance", "measure": "dense", "run": "a", "of": "obd", "at_sparsity": 0.5}
    said = agreement_words.say(correlation([{**about, "to": "previous", "epoch": 3, "distance": 0.25}]))
    assert said == "Masks at 50 % sparsity, distance to the one recorded before: obd 0.250 at the last record."
    final = agreement_words.say(correlation([{**about, "to": "final", "epoch": 3, "distance": 0.25}]))
    assert final == "Only distances to the final mask were recorded."


def test_the_sign_of_first_against_second_order_is_told_once_training_has_begun():
    def said(*values, temperature=1.0):
        rows = [scatter(4, epoch=e, spearman=v, temperature=temperature) for e, v in enumerate(values)]
        return order_words.say(orders([*rows, *epochs("dense", (0.1,) * (len(values) - 1))]))

    assert "0.10 before training, 0.80 after epoch 1 and 0.70 at the end (epoch 2), so the units" in said(0.1, 0.8, 0.7)
    assert "whose removal raises the loss" in said(0.1, 0.8, 0.7)
    assert "At T = 200: −0.10" in said(-0.1, -0.8, temperature=200.0)
    assert "whose removal lowers the loss" in said(0.1, -0.8)
    assert "without one sign throughout training" in said(0.1, -0.8, 0.8)
    assert "so the units" not in said(0.9)
    assert "At T = 1 it is undefined." in said(None, None)


def gradient(**ends):
    rows = []
    for name, values in ends.items():
        measure = "gradient_norm_preservation" if name == "kept" else "gradient_norm_increase"
        at = {"kept": 1.0, "grasp": 200.0, "warm": 1.0}[name]
        more = {"setting": '{"prune.temperature": 1.0}'} if name == "warm" else {"scored_at": at}
        rows += trained(measure, *values, key="test_accuracy", **more)
    return norm_words.say(gradient_norm(rows))


def test_preserving_is_said_to_be_better_only_against_every_increase_beyond_the_spread():
    better = gradient(kept=(0.6, 0.62), grasp=(0.5, 0.52), warm=(0.4, 0.42))
    assert "Preservation ended +10.0 points against increase, T = 200 (beyond the spread)" in better
    assert "and +20.0 points against increase, T = 1 (beyond the spread): preserving the gradient norm gave" in better
    mixed = gradient(kept=(0.6, 0.62), grasp=(0.61, 0.62), warm=(0.4, 0.42))
    assert "(within the spread)" in mixed
    assert "better networks" not in mixed
    assert "against what the founding paper reports" in gradient(kept=(0.4, 0.42), grasp=(0.5, 0.52))
    assert "spread unknown" in gradient(kept=(0.6,), grasp=(0.5,))
    assert "Preservation ended" not in gradient(grasp=(0.5, 0.6))


def layered(measure, *kept_by_run, **more):
    """Three layers of 100 units; what each run keeps of them."""
    about = {"kind": "layer", "measure": measure, "rounds": 1, "round": 1, "units": 100, **more}
    return [
        {**about, "run": f"{measure}{seed}", "layer": f"conv.{index}", "kept": value}
        for seed, kept in enumerate(kept_by_run)
        for index, value in enumerate(kept)
    ]


def test_early_layers_are_said_to_lose_more_only_beyond_the_spread():
    increase = layered("gradient_norm_increase", (10, 30, 30), (12, 30, 30))
    other = layered("magnitude", (60, 20, 20), (62, 20, 20))
    said = layer_words.say(layers(increase + other))
    assert "Grad-norm increase keeps 11 ± 1 % of the first third of the layers and 30 ± 0 % of the rest" in said
    assert (
        "it cuts early layers more than every other measure, beyond the spread, as the founding paper reports" in said
    )
    assert "The other measures keep 61 % of the first third." in said
    more = layered("obd", (11, 30, 30), (12, 30, 30))
    assert "more than 1 of the 2 other measures, beyond the spread" in layer_words.say(layers(increase + other + more))
    assert "it does not cut early layers more" in layer_words.say(layers(increase + more))
    single = layer_words.say(layers(increase[:3] + other[:3]))
    assert "less than the other measure; with one seed" in single
    assert "first third" not in layer_words.say(layers(other))


def test_what_gradient_flow_misses_of_real_steps_is_told():
    rows = [steps(0, 10.0, flow=0.5, decay=0.2, step_size=0.6, effective=11.0, momentum=10.0)]
    said = step_words.say(training_flow(rows))
    assert "gradient flow alone (E3) 95 %" in said
    assert "with the momentum buffer 0 %" in said
    assert "Gradient flow alone misses most of the change. Momentum taken for a larger rate explains most" in said
    plain = step_words.say(training_flow([steps(0, 10.0, flow=9.9, decay=9.95, effective=99.0, momentum=10.0)]))
    assert "Gradient flow alone explains most of the change. Momentum taken for a larger rate comes no nearer" in plain
    assert "no prediction has a relative error" in step_words.say(training_flow([steps(0, 0.0, flow=1.0)]))


def test_events_are_told_with_their_epochs_and_whether_the_moment_was_forced():
    one = looked(((0.3, False), (0.05, True)))
    said = event_words.say(when([*one, {"kind": "cut", "run": "r", "epoch": 2}]))
    assert said == "Early bird fired after epoch 2. The first cut followed at once."
    late = looked(((0.3, False), (0.3, False), (0.3, True)), run="s")
    assert "after epochs 2 to 3 (median 3) in all 2 runs, in 1 of them only because" in event_words.say(
        when(one + late)
    )
    never = event_words.say(when(looked(((0.3, False),))))
    assert never == "Early bird did not fire in 1 run."


@pytest.mark.parametrize("name", FIGURES)
def test_one_seed_and_settings_beside_each_other_give_whole_sentences(name):
    rows = fabricate.rows(seeds=(0,), epochs=4)
    for found in (rows, [*rows, *fabricate.warm(rows)]):
        drawn = FIGURES[name].of(found)
        for said in (drawn.sentence, drawn.caption, *drawn.notes):
            assert said.endswith(".")
            assert "None" not in said
            assert "  " not in said
