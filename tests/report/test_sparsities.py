"""Accuracy at several sparsities: networks and methods apart, chance, what trains, and every mark by hand."""

from __future__ import annotations

import pytest

from flowprune.report.figures import FIGURES
from flowprune.report.figures.depth import place
from flowprune.report.sentences import sparsities as words
from flowprune.report.shapes.sparsities import sparsities
from flowprune.report.spread import Spread
from tests.report import studied


def result(measure, sparsity, value, setting="{}", dataset="digits", **more):
    about = {"kind": "result", "dataset": dataset, "model": "mlp", "measure": measure, "rounds": int(sparsity > 0)}
    return {**about, "sparsity": sparsity, "setting": setting, "test_accuracy_final": value, **more}


PLAIN = '{"prune.ablations": [], "prune.score_on": "own_weights"}'
SHUFFLED = '{"prune.ablations": ["shuffle"], "prune.score_on": "own_weights"}'
ROWS = [
    result("dense", 0.0, 0.9),
    result("snip", 0.9, 0.8),
    result("snip", 0.9, 0.6),
    result("snip", 0.95, 0.5, PLAIN),
    result("snip", 0.95, 0.7, SHUFFLED),
]


def test_fields_that_say_nothing_do_not_part_a_method_and_others_do():
    (network,) = sparsities(ROWS).networks
    assert network.dense == Spread(0.9, None, 1)
    assert [(each.config.name, each.sparsities) for each in network.methods] == [
        ("SNIP", (0.9, 0.95)),
        ("SNIP, shuffled", (0.95,)),
    ]
    at = network.methods[0].at(0.9)
    assert (at.mean, at.n) == (pytest.approx(0.7), 2)
    assert network.methods[1].at(0.9) is None


def test_networks_are_told_apart_by_what_dense_runs_have_too_the_usual_one_first():
    found = sparsities(studied.rows("depth", studied.deep))
    assert [each.words for each in found.networks] == [
        "relu, edge of chaos, σ_b = 0",
        "relu, σ_w = 1.2, σ_b = 0",
        "tanh, edge of chaos, σ_b = 0.05",
        "tanh, σ_w = 1, σ_b = 0.2",
        "tanh, σ_w = 2, σ_b = 0.2",
    ]
    assert {each.dense.n for each in found.networks} == {3}
    names = ["magnitude", "magnitude, rescaled", "SNIP", "SNIP, rescaled"]
    assert [config.name for config in found.configs] == names
    assert all(len(each.methods) == len(names) for each in found.networks)
    residual = sparsities([row for row in studied.rows("init_small", studied.small) if row["model"] == "resnet32"])
    assert [each.words for each in residual.networks] == ["", "stable"]
    assert residual.networks[1].dense is None


def test_chance_and_what_trains():
    assert (sparsities(ROWS).chance, sparsities(ROWS).least) == (0.1, pytest.approx(0.55))
    unknown = sparsities([{**row, "dataset": "elsewhere"} for row in ROWS])
    assert (unknown.chance, unknown.least) == (None, None)
    assert "Dotted" not in words.caption(unknown)
    said = "At 95 %, SNIP, shuffled is highest in the mean: 70.0 % (n = 1)."
    assert words.say(unknown) == said
    said = "The network trains dense (90.0 % (n = 1)); pruned it trains by SNIP up to 90 %; by SNIP shuffled at every"
    assert words.say(sparsities(ROWS)) == f"{said} sparsity."


def test_a_network_that_trains_again_at_a_larger_sparsity_is_not_said_to_train_up_to_it():
    rows = [result("snip", s, a) for s, a in ((0.5, 0.2), (0.8, 0.9), (0.9, 0.2))]
    assert words.say(sparsities(rows)) == "The network trains when pruned by SNIP at 80 % alone."


def test_sentences_of_the_deep_networks():
    said = words.say(sparsities(studied.rows("depth", studied.deep)))
    assert "Relu, edge of chaos, σ_b = 0 trains dense" in said
    assert "by magnitude, SNIP and SNIP rescaled up to 50 %; by magnitude rescaled at every sparsity." in said
    assert "Tanh, σ_w = 2, σ_b = 0.2 does not train dense" in said
    assert said.endswith(", nor pruned.")
    low = sparsities([{**row, "test_accuracy_final": 0.2} for row in ROWS])
    assert words.say(low).startswith("Nothing comes half-way from chance to 100 %.")


def test_one_sparsity_and_rows_without_accuracy_have_no_figure():
    assert sparsities(ROWS[:3]) is None
    assert sparsities([]) is None
    assert sparsities([*ROWS, result("snip", 0.5, float("nan"), run="bad")]).notes[0].endswith("(run bad): left out.")


def test_every_mark_stands_at_its_sparsity_and_lines_begin_at_the_dense_network():
    drawn = FIGURES["depth"].of(ROWS)
    (axes,) = drawn.draw("wide").axes
    heights = {round(y, 9) for line in axes.lines for y in line.get_ydata()}
    assert {0.9, 0.7, 0.5, 0.1} <= heights
    (method,) = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert [round(y, 9) for y in method.get_ydata()] == [0.9, 0.7, 0.5]
    assert method.get_xdata()[0] == 0.0
    assert method.get_xdata()[1] == pytest.approx(place(0.9), abs=0.03)
    assert [each.get_text() for each in axes.get_xticklabels()] == ["90", "95", "dense"]
    assert [each.get_text() for each in axes.texts] == ["chance"]


def test_panels_share_their_limits():
    axes = FIGURES["depth"].of(studied.rows("depth", studied.deep)).draw("wide").axes
    assert len(axes) == 5
    assert len({each.get_ylim() for each in axes}) == len({each.get_xlim() for each in axes}) == 1
