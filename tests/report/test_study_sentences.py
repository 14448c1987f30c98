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
    found = [row for own in rows for row in own]
    runs = {(row["measure"], row["rounds"], row["seed"]) for row in found if row["measure"] != "dense"}
    cuts = [cut(measure, 1, rounds=rounds, seed=seed) for measure, rounds, seed in sorted(runs)]
    return speed_words.say(convergence([*found, *cuts]))


def test_faster_is_said_as_the_paper_reports_where_the_interval_of_the_differences_says_so():
    said = speed(trained("magnitude", 0.6, 0.62), trained("loss_preservation", 0.5, 0.53), trained("dense", 0.7, 0.7))
    assert "magnitude has the highest mean train accuracy over the epoch after the last cut (2), 61.0 ± 1.4 %" in said
    assert "against 51.5 ± 2.1 % for loss preservation (dense training: 70.0 ± 0.0 %)" in said
    # Differences of 10 and 9 points: t(0.975; 1) = 12.7, so 9.5 ± 12.7 * 0.5.
    assert said.endswith(
        "Magnitude less loss preservation, over the epochs after the last cut: train accuracy +9.5 points in 1 round"
        " (3.1 to 15.9: as the founding paper reports)."
    )


def test_the_opposite_is_said_as_plainly():
    said = speed(trained("magnitude", 0.5, 0.53), trained("loss_preservation", 0.6, 0.62))
    assert "−9.5 points in 1 round (−15.9 to −3.1: against what the founding paper reports)" in said


def test_train_and_test_accuracy_and_every_number_of_rounds_are_told():
    """A gap that the spreads of both sides would hide, or make of nothing, is told by its interval alone."""
    rows = [
        {**row, "test_accuracy": row["train_accuracy"] - shift}
        for measure, shift in (("magnitude", 0.0), ("loss_preservation", 0.1))
        for rounds in (1, 5)
        for row in trained(measure, 0.6, 0.7, rounds=rounds)
    ]
    said = speed(rows)
    assert "train accuracy 0.0 points in 1 round" in said
    assert (
        "test accuracy +10.0 points in 1 round (10.0 to 10.0: as the founding paper reports) and +10.0 points" in said
    )
    assert said.count("in 5 rounds (") == 2
    assert "the spread" not in said


def test_speeds_of_one_seed_or_whose_interval_holds_zero_are_not_ranked():
    near = speed(trained("magnitude", 0.6, 0.5), trained("loss_preservation", 0.5, 0.6))
    assert "(−127.1 to 127.1: undecided)" in near
    single = speed(trained("magnitude", 0.6), trained("loss_preservation", 0.5))
    assert "+10.0 points in 1 round (one seed, so no interval)" in single
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
    assert said == "Masks at 50 % sparsity, distance to the one recorded before: OBD 0.250 at the last record."
    final = agreement_words.say(correlation([{**about, "to": "final", "epoch": 3, "distance": 0.25}]))
    assert final == "Only distances to the final mask were recorded."


def test_the_sign_of_first_against_second_order_is_told_by_intervals_once_training_has_begun():
    def said(*values, temperature=1.0, apart=0.01):
        rows = [
            scatter(4, seed=s, epoch=e, spearman=None if v is None else v + apart * s, temperature=temperature)
            for e, v in enumerate(values)
            for s in range(2)
        ]
        return order_words.say(orders([*rows, *epochs("dense", (0.1,) * (len(values) - 1))]))

    alike = said(0.1, 0.8, 0.7)
    assert "0.11 ± 0.01 before training, 0.81 ± 0.01 after epoch 1 and 0.70 ± 0.01 at the end (epoch 2), so" in alike
    assert alike.endswith("whose removal raises the loss, as the paper reports.")
    assert "At T = 200: −0.10" in said(-0.1, -0.8, temperature=200.0)
    assert said(0.1, -0.8).endswith("whose removal lowers the loss, against what the paper reports.")
    assert "without one sign throughout training" in said(0.1, -0.8, 0.8)
    assert "without one sign throughout training" in said(0.1, 0.5, apart=0.3)  # beyond the spread, within the interval
    assert "so the units" not in said(0.9)
    assert "At T = 1 it is undefined." in said(None, None)
    single = order_words.say(orders([scatter(4, epoch=1, spearman=0.9)]))
    assert "with one seed no sign is told" in single


def gradient(**ends):
    rows = []
    for name, values in ends.items():
        measure = "gradient_norm_preservation" if name == "kept" else "gradient_norm_increase"
        at = {"kept": 1.0, "grasp": 200.0, "warm": 1.0}[name]
        more = {"setting": '{"prune.temperature": 1.0}'} if name == "warm" else {"scored_at": at}
        own = trained(measure, *values, key="test_accuracy", **more)
        rows += [*own, *({**row, "kind": "result", "test_accuracy_final": row["test_accuracy"]} for row in own[1::2])]
    return norm_words.say(gradient_norm(rows))


def test_preserving_is_said_to_be_better_against_each_increase_by_the_interval_of_the_differences():
    better = gradient(kept=(0.6, 0.62), grasp=(0.5, 0.53), warm=(0.4, 0.42))
    assert (
        "Preservation ended against grad-norm increase (T = 1) +20.0 points in 1 round (20.0 to 20.0: as the founding"
        " paper reports); against grad-norm increase (T = 200) +9.5 points in 1 round (3.1 to 15.9: as the founding"
    ) in better
    mixed = gradient(kept=(0.6, 0.62), grasp=(0.61, 0.62), warm=(0.4, 0.42))
    assert "−0.5 points in 1 round (−6.9 to 5.9: undecided)" in mixed
    assert "against what the founding paper reports" in gradient(kept=(0.4, 0.42), grasp=(0.5, 0.52))
    assert "one seed, so no interval" in gradient(kept=(0.6,), grasp=(0.5,))
    assert "Preservation ended" not in gradient(grasp=(0.5, 0.6))


def layered(measure, *kept_by_run, **more):
    """Three layers of 100 units; what each run keeps of them."""
    about = {"kind": "layer", "measure": measure, "rounds": 1, "round": 1, "units": 100, **more}
    return [
        {**about, "run": f"{measure}{seed}", "seed": seed, "layer": f"conv.{index}", "kept": value}
        for seed, kept in enumerate(kept_by_run)
        for index, value in enumerate(kept)
    ]


def test_early_layers_are_said_to_lose_more_than_under_every_measure_by_the_interval():
    increase = layered("gradient_norm_increase", (10, 30, 30), (12, 30, 30))
    other = layered("magnitude", (60, 20, 20), (63, 20, 20))
    said = layer_words.say(layers(increase + other))
    assert "Grad-norm increase keeps 11 ± 1 % of the first third of the layers and 30 ± 0 % of the rest" in said
    assert "The other measures keep 62 % of the first third." in said
    # It leaves early layers 20 and 18 points below the rest, magnitude 40 and 43 above it.
    assert "grad-norm increase (T = 200) +60.5 points in 1 round (54.1 to 66.9: as the founding paper reports)" in said
    more = layered("obd", (11, 30, 30), (12, 30, 30))
    assert "(T = 200) +0.5 points in 1 round (−5.9 to 6.9: undecided)" in layer_words.say(
        layers(increase + other + more)
    )
    less = layered("obd", (5, 30, 30), (7, 30, 30))
    assert "against what the founding paper reports" in layer_words.say(layers(increase + less))
    assert "one seed, so no interval" in layer_words.say(layers(increase[:3] + other[:3]))
    assert "first third" not in layer_words.say(layers(other))


def test_what_gradient_flow_misses_of_real_steps_is_told():
    rows = [steps(0, 10.0, flow=0.5, decay=0.2, step_size=0.6, effective=11.0, momentum=10.0)]
    said = step_words.say(training_flow(rows))
    assert "gradient flow alone (E3) 95 %" in said
    assert "with the momentum buffer 0 %; the norm grew at 100 % of them." in said
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
        drawn = FIGURES[name].of(fabricate.wanted(FIGURES[name], found))
        for said in (drawn.sentence, drawn.caption, *drawn.notes):
            assert said.endswith(".")
            assert "None" not in said
            assert "  " not in said
