"""Rows to records of the figures of a whole study: every number by hand."""

from __future__ import annotations

import math

import pytest

from flowprune.report.looks import looks
from flowprune.report.shapes.convergence import convergence
from flowprune.report.shapes.correlation import correlation
from flowprune.report.shapes.curves import rate_drops
from flowprune.report.shapes.depth import early, in_depth
from flowprune.report.shapes.gradient_norm import gradient_norm
from flowprune.report.shapes.layers import layers
from flowprune.report.shapes.network import watched
from flowprune.report.shapes.orders import MOST, orders
from flowprune.report.shapes.runs import Config
from flowprune.report.shapes.training_flow import training_flow
from flowprune.report.shapes.when import when
from flowprune.report.theme import MARKERS
from tests.report import fabricate

NAN = float("nan")


def epochs(measure, values, *, rounds=1, seed=0, key="train_accuracy", **more):
    rounds = 0 if measure == "dense" else rounds
    about = {"kind": "epoch", "measure": measure, "rounds": rounds, "seed": seed, "run": f"{measure}{rounds}{seed}"}
    return [{**about, **more, "epoch": e, key: value} for e, value in enumerate(values, start=1)]


def cut(measure, epoch, *, rounds=1, seed=0):
    about = {"measure": measure, "rounds": rounds, "seed": seed, "run": f"{measure}{rounds}{seed}"}
    return {"kind": "cut", **about, "epoch": epoch}


def test_speed_is_the_mean_accuracy_after_the_last_cut_of_any_run():
    rows = [
        *epochs("magnitude", (0.1, 0.4, 0.6)),
        *epochs("magnitude", (0.1, 0.6, 0.8), seed=1),
        *epochs("loss_preservation", (0.9, 0.2, 0.4)),
        *epochs("dense", (0.2, 0.5, 0.7)),
        cut("magnitude", 1),
    ]
    (split,) = convergence(rows).splits
    paces = {pace.config.measure: pace.value for pace in split.paces}
    assert split.epochs == (2, 3)
    assert (paces["magnitude"].mean, paces["magnitude"].std) == pytest.approx((0.6, math.sqrt(0.02)))
    assert paces["loss_preservation"].mean == pytest.approx(0.3)
    assert paces["dense"].mean == pytest.approx(0.6)


def test_convergence_shows_the_largest_number_of_rounds_and_its_three_measures():
    rows = [*epochs("magnitude", (0.1,)), *epochs("magnitude", (0.2,), rounds=5), *epochs("fisher", (0.3,), rounds=9)]
    found = convergence([*rows, *epochs("biased_loss", (0.4,), rounds=5, key="test_accuracy")])
    assert found.rounds == 5
    shown = {split.name: [curve.config for curve in split.curves] for split in found.splits}
    assert shown == {"train": [Config(5, "magnitude")], "test": [Config(5, "biased_loss")]}
    assert convergence(epochs("dense", (0.1,)) + epochs("fisher", (0.1,))) is None


def test_epochs_that_a_run_lacks_are_compared_in_none():
    rows = [*epochs("magnitude", (0.1, 0.4, 0.6)), *epochs("biased_loss", (0.1, NAN, 0.5))]
    found = convergence(rows)
    assert found.splits[0].epochs == (1, 3)
    assert "train_accuracy is missing or not finite in 1 of 6 rows" in found.notes[0]


def test_the_learning_rate_drops_where_it_is_lower_afterwards():
    rates = (0.1, 0.1, 0.01, 0.01, 0.001)
    rows = [row for r in [epochs("dense", rates, key="learning_rate")] for row in r]
    assert rate_drops(rows) == (2, 4)
    assert rate_drops(epochs("dense", (0.1, 0.5))) == ()


def agree(epoch, spearman, *, layer="", seed=0, measure="dense", **more):
    about = {"kind": "correlation", "measure": measure, "seed": seed, "run": f"{measure}{seed}", "epoch": epoch}
    return {**about, "a": "magnitude", "b": "loss_preservation", "layer": layer, "spearman": spearman, **more}


def test_correlations_over_seeds_and_within_layers():
    rows = [agree(0, 0.1, pearson=0.5), agree(0, 0.3, seed=1, pearson=0.7), agree(3, 0.9, pearson=NAN)]
    rows += [agree(0, value, layer=layer) for layer, value in (("x", 0.2), ("y", 0.4), ("z", NAN))]
    rows += [agree(0, 0.8, layer="x", seed=1)]
    (pair,) = correlation(rows).pairs
    assert (pair.a, pair.b) == ("magnitude", "loss_preservation")
    assert pair.spearman.epochs == (0, 3)
    assert (pair.spearman.at(0).mean, pair.spearman.at(0).n) == (pytest.approx(0.2), 2)
    assert pair.pearson.epochs == (0,)
    assert pair.by_layer.at(0).mean == pytest.approx((0.3 + 0.8) / 2)  # within a run first, undefined layers aside
    assert "pearson is missing or not finite in 1 of 3 rows" in correlation(rows).notes[0]


def test_mask_distances_by_measure_and_by_what_they_are_to():
    about = {"kind": "mask_distance", "measure": "dense", "run": "a", "at_sparsity": 0.75}
    rows = [
        {**about, "of": of, "to": to, "epoch": 3, "distance": d}
        for of, to, d in (
            ("obd", "final", 0.4),
            ("magnitude", "final", 0.1),
            ("magnitude", "previous", 0.2),
        )
    ]
    found = correlation(rows)
    assert [(d.measure, d.to, d.series.last.mean) for d in found.distances] == [
        ("magnitude", "previous", 0.2),
        ("magnitude", "final", 0.1),
        ("obd", "final", 0.4),
    ]
    assert found.sparsity == 0.75
    assert found.pairs == ()


def test_the_dense_network_is_told_of_by_dense_runs_where_there_are_any():
    rows = [agree(0, 0.5), agree(0, 0.9, measure="fisher")]
    assert correlation(rows).pairs[0].spearman.last.mean == 0.5
    assert correlation(rows[1:]).pairs[0].spearman.last.mean == 0.9
    other = agree(0, 0.1, setting='{"train.batch": 8}')
    assert watched([*rows, other]).notes == ("Shown: dense; left out: dense, batch=8.",)
    assert correlation([*rows, other]).notes == watched([*rows, other]).notes


def scatter(count, *, seed=0, layers=("a.0", "a.1", "a.2"), **more):
    units = [count - 2, 1, 1]
    about = {"kind": "scatter", "measure": "dense", "seed": seed, "run": str(seed), "epoch": 0, "temperature": 1.0}
    values = {"first": [float(i) for i in range(count)], "second": [-float(i) for i in range(count)]}
    return {**about, "layers": list(layers), "sizes": units, **values, "spearman": 0.5, "pearson": 0.25, **more}


def test_units_are_those_of_one_seed_and_evenly_spread():
    found = orders([scatter(1000, seed=10), scatter(1000, seed=2, first=[7.0] * 1000, spearman=0.7)])
    (moment,) = found.moments
    assert found.seed == "2"
    assert {point.first for point in moment.points} == {7.0}
    assert (len(moment.points), moment.units) == (MOST, 1000)
    assert [point.second for point in moment.points[:3]] == [0.0, -4.0, -8.0]
    assert (moment.spearman.mean, moment.spearman.n) == (pytest.approx(0.6), 2)
    assert found.notes == ("Panels show 240 of 1000 units, evenly spread over the layers; correlations are over all.",)


def test_early_units_are_those_of_the_first_third_of_the_layers_by_depth():
    found = orders([scatter(5, layers=("a.2", "a.0", "a.1"))])
    assert [point.early for point in found.moments[0].points] == [False, False, False, True, False]
    assert found.notes == ()


def test_rows_of_units_that_do_not_fit_are_told():
    found = orders([scatter(4), scatter(4, seed=1, first=[1.0, NAN, 2.0, 3.0]), scatter(4, seed=2, sizes=[1, 1])])
    assert found.notes == ("2 scatter rows were left out: values are missing or not finite.",)
    assert orders([scatter(4, second=[])]) is None


def test_layers_are_ordered_by_the_numbers_in_their_names():
    names = ("stem.weight", "stages.0.1.conv2.weight", "stages.0.0.conv1.weight", "stages.0.10.conv1.weight")
    more = ("stages.0.1.conv1.weight", "head.weight")
    assert in_depth((*names, *more)) == (names[0], names[2], more[0], names[1], names[3], more[1])
    assert early((*names, *more)) == {"stem.weight", "stages.0.0.conv1.weight"}
    assert early(("a", "b")) == frozenset()


def test_both_ends_of_a_network_are_means_over_layers_and_runs():
    def row(run, layer, kept):
        about = {"kind": "layer", "run": run, "measure": "magnitude", "rounds": 1, "round": 1}
        return {**about, "layer": layer, "units": 10, "kept": kept}

    kept = {"r": (1, 5, 9), "s": (3, 2, 4)}
    rows = [row(run, f"conv.{i}", value) for run, values in kept.items() for i, value in enumerate(values)]
    ends = layers(rows).ends[Config(1, "magnitude")]
    assert (ends.early.mean, ends.rest.mean) == pytest.approx((0.2, (0.7 + 0.3) / 2))
    assert ends.early.std == pytest.approx(math.sqrt(0.02))
    assert layers(rows[:2]).ends == {}  # two layers have no first third


def test_variants_of_the_gradient_norm_are_told_by_their_temperature():
    warm = '{"prune.temperature": 1.0}'
    rows = [
        *epochs("gradient_norm_increase", (0.5,), key="test_accuracy", scored_at=200.0),
        *epochs("gradient_norm_increase", (0.4,), key="test_accuracy", setting=warm, seed=1),
        *epochs("gradient_norm_preservation", (0.6,), key="test_accuracy", scored_at=1.0),
        *epochs("dense", (0.7,), key="test_accuracy"),
    ]
    found = gradient_norm(rows)
    ends = {track.variant.name: track.accuracy.last.mean for track in found.tracks}
    assert ends == {"dense": 0.7, "increase, T = 200": 0.5, "increase, T = 1": 0.4, "preservation, T = 1": 0.6}
    assert all(track.loss is None for track in found.tracks)
    assert gradient_norm(epochs("magnitude", (0.5,), key="test_accuracy")) is None


def steps(epoch, measured, **predicted):
    about = {"kind": "training_flow", "run": "a", "measure": "dense", "epoch": epoch, "steps": 20}
    return {**about, "measured": measured, **predicted}


def test_errors_of_real_steps_are_quantiles_over_moments():
    rows = [steps(0, 2.0, flow=1.0, momentum=2.0), steps(5, -4.0, flow=1.0, momentum=-4.0), steps(9, 1.0, flow=0.9)]
    found = {error.prediction: error for error in training_flow(rows).errors}
    assert (found["flow"].n, found["flow"].median) == (3, pytest.approx(0.5))
    assert found["flow"].same_sign == pytest.approx(2 / 3)
    assert [value for _, value in found["flow"].by_epoch] == pytest.approx([0.5, 1.25, 0.1])
    assert (found["momentum"].n, found["momentum"].median, found["momentum"].same_sign) == (2, 0.0, 1.0)
    assert training_flow(rows).steps == (20,)


def test_a_change_of_nothing_has_no_relative_error():
    found = training_flow([steps(0, 0.0, flow=1.0), steps(1, 1.0, flow=1.0)])
    assert found.errors[0].n == 1
    assert "1 change of exactly 0 has" in found.notes[0]
    assert training_flow([steps(0, 0.0, flow=1.0)]).errors == ()
    assert training_flow([steps(0, NAN, flow=1.0)]) is None


def looked(readings, *, event="early_bird", run="r", **more):
    about = {"kind": "look", "run": run, "measure": "magnitude", "rounds": 1, "seed": 0, "event": event}
    return [
        {**about, **more, "epoch": e, "value": value, "threshold": 0.1, "fired": fired}
        for e, (value, fired) in enumerate(readings, start=1)
    ]


def test_an_event_fires_of_itself_or_because_the_last_moment_came():
    own = looked(((None, False), (0.3, False), (0.05, True)))
    late = looked(((None, False), (0.3, True)), run="s")
    blind = looked(((None, True),), run="t")
    found = when([*own, *late, *blind, {"kind": "cut", "run": "r", "epoch": 3}])
    assert [(w.fired, w.settled, w.cut) for w in found.events["early_bird"]] == [
        (3, True, 3),
        (2, False, None),
        (1, False, None),
    ]
    assert found.notes == ("In 1 run no look had a value yet: nothing is drawn of them.",)
    (above,) = when(looked(((0.05, False), (0.2, True)), event="stable_structure")).events["stable_structure"]
    assert above.settled is True
    (other,) = when(looked(((0.05, True),), event="mine")).events["mine"]
    assert other.settled is None


def test_an_event_is_named_as_the_spec_names_it():
    rows = looked(((0.3, False),), event="at_latest")
    assert list(when([{**row, "when": "early_crop"} for row in rows]).events) == ["early_crop"]
    setting = '{"prune.when": "early_bird"}'
    assert list(when([{**row, "setting": setting} for row in rows]).events) == ["early_bird"]
    assert list(when(rows).events) == ["at_latest"]


def test_settings_of_one_measure_look_alike_and_are_told_apart():
    rows = fabricate.rows(seeds=(0,), epochs=1, rounds=(1, 5))
    configs = [Config(1, row["measure"]) for row in rows if row["measure"] != "dense"]
    warm = Config(1, "gradient_norm_increase", (("prune.temperature", "1.0"),))
    cold = Config(5, "gradient_norm_increase")
    found = looks([*configs, warm, cold])
    assert found[warm].colour == found[cold].colour
    assert (found[cold].dashed, found[warm].dashed) == (False, True)
    assert found[warm].marker not in {style.marker for config, style in found.items() if config != warm}
    assert found[warm].marker in MARKERS
