"""The diagnosis of collapse in the report: every cell, sentence, warning and mark by hand."""

from __future__ import annotations

import pytest

from flowprune.report.evidence import Evidence, load
from flowprune.report.figures import FIGURES
from flowprune.report.page import render
from flowprune.report.sentences import collapse as words
from flowprune.report.shapes.collapse import collapse
from flowprune.report.shapes.layers import layers
from flowprune.report.shapes.runs import Config
from flowprune.report.shapes.warned import warned
from flowprune.report.tables import TABLES
from tests.report import fabricate

RANDOM = Config(1, "random")
PATH = "% of the kept weights are on no path from input to output. Prune in more rounds."


def diagnosed(measure, *by_seed, warnings=(), effective=True, **more):
    """Runs of two layers, a of 1,000 weights and b of 4,000; what each keeps of them and what is on a path."""
    about = {"measure": measure, "rounds": 1, "sparsity": 0.9, "model": "mlp", "dataset": "digits", "epoch": 0}
    about |= {"granularity": "weights", "scored_at": 1.0, "unit": "weights"}
    found = []
    for seed, counts in enumerate(by_seed):
        own = {**about, "run": f"{measure}{seed}", "seed": seed}
        alive = {"effective_sparsity": 1 - sum(alive for _, alive in counts) / 5000 if effective else None}
        said = {"warnings": list(warnings[seed]) if warnings else []}
        found.append({**own, **alive, **said, **more, "kind": "collapse"})
        for name, total, outputs, (kept, path) in zip("ab", (1000, 4000), (8, 16), counts, strict=True):
            each = {"kind": "collapse_layer", "layer": f"{name}.weight", "kept": kept, "total": total}
            paths = {"effective": path, "dead_outputs": kept - path, "outputs": outputs} if effective else {}
            found.append({**own, **each, **paths})
    return found


def cells(rows):
    grid = TABLES["collapse"].of(rows)
    return [dict(zip(grid.columns, map(str, line), strict=True)) for line in grid.lines]


def test_every_cell_by_hand():
    safe = {"largest_safe_sparsity": 0.991, "dies_first": "a.weight", "conservation": 0.25}
    (line,) = cells(diagnosed("random", ((10, 8), (90, 90)), ((14, 8), (90, 90)), **safe))
    assert line == {
        "model": "mlp",
        "data": "digits",
        "removed": "90 % of weights",
        "measure": "random (1 round)",
        "n": "2",
        "sparsity, %": "98.0 ± 0.1",
        "effective sparsity, %": "98.0 (of those kept, 3.9 % idle)",
        "compression, times": "49.0 ± 1.4",
        "thinnest layer": "a (12 ± 2.8 of 1.00 k kept, 8 on a path)",
        "dead units": "4 ± 2.8 (of 24)",
        "largest safe sparsity, %": "99.10 (a dies first)",
        "conservation residual": "0.25",
    }


def test_columns_that_no_run_fills_are_left_out():
    (line,) = cells(diagnosed("random", ((10, 0), (90, 0)), effective=False))
    assert list(line)[4:] == ["n", "sparsity, %", "compression, times", "thinnest layer"]
    assert line["thinnest layer"] == "a (10 of 1.00 k kept)"
    note = TABLES["collapse"].of(diagnosed("random", ((10, 0), (90, 0)), effective=False)).note
    assert "Dead units" not in note
    assert "Thinnest" in note


def test_layers_that_differ_between_seeds_are_told_as_such():
    rows = diagnosed("random", ((10, 10), (90, 90)), ((90, 90), (8, 8)), largest_safe_sparsity=0.95)
    rows = [{**row, "dies_first": "ab"[row["seed"]]} if row["kind"] == "collapse" else row for row in rows]
    (line,) = cells(rows)
    assert line["thinnest layer"] == "varies (least: b, 8 of 4.00 k kept)"
    assert line["largest safe sparsity, %"] == "95.0 (varies)"


def test_a_value_of_some_seeds_alone_says_of_how_many():
    rows = diagnosed("random", ((10, 10), (90, 90)), ((10, 10), (90, 90)))
    rows[0] = {**rows[0], "largest_safe_sparsity": 0.95}
    assert cells(rows)[0]["largest safe sparsity, %"] == "95.0 (n = 1)"


def test_a_network_of_which_nothing_is_left():
    (line,) = cells(diagnosed("random", ((0, 0), (0, 0))))
    assert (line["sparsity, %"], line["compression, times"]) == ("100", "infinite")
    said = words.say(collapse(diagnosed("random", ((0, 0), (0, 0)))))
    assert said == "Random (1 round) leaves nothing of a."


def test_the_last_diagnosis_of_a_run_counts():
    early = [{**row, "kept": 500} if "kept" in row else row for row in diagnosed("random", ((10, 10), (90, 90)))]
    late = [{**row, "epoch": 3} for row in diagnosed("random", ((10, 10), (90, 90)))]
    (network,) = collapse([*late, *early]).configs[RANDOM]
    assert (network.epoch, network.sparsity) == (3, pytest.approx(0.98))
    assert "(epoch 3), before training goes on" in TABLES["collapse"].of([*late, *early]).note


def test_rows_without_a_diagnosis_have_no_table_and_no_heading():
    rows = [row for row in fabricate.rows(seeds=(0,), epochs=1, rounds=(1,)) if row["kind"] == "result"]
    assert TABLES["collapse"].of(rows) is None
    html = render(Evidence(tuple(rows)))
    assert "table-collapse" not in html
    assert f"<h3>{TABLES['collapse'].title}</h3>" not in html


def test_a_row_that_says_nothing_is_left_out_and_told():
    rows = diagnosed("random", ((10, 10), (90, 90)))
    bare = {"kind": "collapse", "run": "bare", "measure": "magnitude", "model": "mlp", "dataset": "digits"}
    assert collapse([bare]) is None
    assert "(run bare): left out." in collapse([*rows, bare]).notes[0]


def test_sentences_name_the_thinnest_layer_and_the_idle_weights():
    rows = diagnosed("random", ((10, 8), (90, 90)), ((14, 8), (90, 90))) + diagnosed("obd", ((50, 50), (200, 200)))
    said = words.say(collapse(rows))
    assert "Random (1 round) leaves a the least: 8 of 1.00 k weights on a path from input to output (0.80 %);" in said
    assert "under OBD (1 round), the most even, the thinnest layer is left with 5 %." in said
    assert said.endswith("of those of OBD (1 round), none.")


def test_where_no_kept_weight_of_a_layer_is_on_a_path():
    said = words.say(collapse(diagnosed("random", ((10, 0), (90, 0)))))
    assert said.startswith("Random (1 round) leaves a no weight on a path from input to output: its 10 are idle.")
    assert "keeps, 100 % do nothing: they are on no path." in said


def test_good_news_and_no_news():
    assert words.say(collapse(diagnosed("random", ((10, 10), (90, 90))))).endswith(
        "Every kept weight is on a path from input to output."
    )
    bare = [row for row in diagnosed("random", ((10, 10), (90, 90)), effective=False) if row["kind"] == "collapse"]
    assert words.say(collapse(bare)) == ""
    assert TABLES["collapse"].of(bare).sentence == ""


def test_what_reads_a_masked_channel_is_not_called_idle():
    rows = diagnosed("random", ((10, 5), (90, 45)), granularity="channels")
    (network,) = collapse(rows).configs[RANDOM]
    assert network.idle is None
    assert "nothing" not in words.say(collapse(rows))


def test_warnings_are_told_once_with_the_runs_they_concern():
    idle, last = (f"{share} {PATH}" for share in (7.13, 12)), "the last weight is all that is kept of a.weight."
    one, two = idle
    rows = diagnosed("random", ((10, 8), (90, 90)), ((10, 8), (90, 90)), warnings=([one, last], [two]))
    rows += diagnosed("obd", ((50, 50), (200, 200)), warnings=([two],))
    told = TABLES["collapse"].of(rows).warnings
    assert told == (
        "Random (1 round), seed 0: the last weight is all that is kept of a.weight.",
        f"OBD (1 round); random (1 round), both seeds: 7.13 to 12 {PATH}",
    )
    html = render(Evidence(tuple(rows)))
    assert html.count('<p class="note">OBD') == 1


def test_warnings_of_different_layers_are_one_and_say_so():
    said = ["fewer than 1 % of the weights are on a path in conv.1 (1 of 4,608), conv.12 (2 of 9)."]
    other = ["fewer than 1 % of the weights are on a path in conv.12 (3 of 9) and 3 more."]
    (found,) = warned([(RANDOM, "0", said), (RANDOM, "1", other)], ["conv.1", "conv.12"])
    assert (found.words, found.alike) == (said[0], False)
    again = ["fewer than 1 % of the weights are on a path in conv.1 (4 of 4,608), conv.12 (2 of 9)."]
    (span,) = warned([(RANDOM, "0", said), (RANDOM, "1", again)], ["conv.1", "conv.12"])
    assert span.words == "fewer than 1 % of the weights are on a path in conv.1 (1 to 4 of 4,608), conv.12 (2 of 9)."
    assert len(warned([(RANDOM, "0", [*said, "a is empty."])], ["conv.1"])) == 2


def test_each_comparison_is_told_apart_in_a_table_across():
    rows = diagnosed("random", ((10, 10), (90, 90)), warnings=(["look."],))
    other = [{**row, "model": "vgg13", "run": "other"} for row in rows]
    grid = TABLES["collapse"].of([*rows, *other])
    assert "vgg13 on digits, 90 % of weights removed: Random (1 round) leaves" in grid.sentence
    assert "- vgg13 on digits, 90 % of weights removed: Random (1 round): look." in grid.markdown()
    html = render(Evidence((*rows, *other)))
    assert html.count("s0-table-collapse") == html.count("s1-table-collapse") == 2  # in the contents, and there
    assert 'id="across"' not in html


def units(rows):
    """The ``kind="layer"`` rows of the same cut."""
    return [
        {**row, "kind": "layer", "round": 1, "units": row["total"]} for row in rows if row["kind"] == "collapse_layer"
    ]


def test_the_figure_of_layers_shows_what_is_on_a_path_and_dead_units_on_a_logarithm():
    rows = diagnosed("random", ((10, 8), (90, 90)))
    (axes,) = FIGURES["layers"].of([*rows, *units(rows)]).draw("wide").axes
    assert axes.get_xscale() == "log"
    crosses = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "x"]
    assert crosses == [[[pytest.approx(0.8), 0.0]]]
    assert [each.get_text() for each in axes.texts] == ["2", "dead"]
    caption = FIGURES["layers"].of(rows).caption
    assert "Crosses: the share on a path" in caption
    assert "Dead: outputs" in caption


def test_an_emptied_layer_stands_at_zero_apart_from_the_logarithm():
    rows = diagnosed("random", ((0, 0), (40, 0)))
    (axes,) = FIGURES["layers"].of(rows).draw("narrow").axes
    assert axes.get_xscale() == "symlog"
    assert axes.get_xticks()[0] == 0.0
    assert axes.get_xlim()[0] < 0


def test_paths_are_drawn_only_beside_the_units_they_are_counted_in():
    rows = diagnosed("random", ((500, 400), (900, 900)))
    channels = [{**row, "units": 10, "kept": 5} for row in units(rows)]
    (axes,) = FIGURES["layers"].of([*rows, *channels]).draw("wide").axes
    assert axes.get_xscale() == "linear"
    assert not axes.texts
    assert layers([*rows, *channels]).paths == {}


def test_runs_that_stored_no_layers_are_drawn_from_their_diagnosis():
    rows = diagnosed("random", ((10, 8), (90, 90)), ((30, 30), (90, 90)))
    (own,) = layers(rows).configs.values()
    assert [layer.shares for layer in own] == [(0.01, 0.03), (0.0225, 0.0225)]
    assert layers([*rows, *units(rows)]).configs == layers(rows).configs


def test_stored_rows_keep_what_they_say(tmp_path):
    """Under ``sparsity`` stored rows have what their run was asked for: what was removed is counted."""
    from flowprune.experiments.spec import DataSpec, ModelSpec, PruneSpec, Spec
    from tests.report.test_page import stored

    spec = Spec(model=ModelSpec(name="mlp"), data=DataSpec(name="digits"), prune=PruneSpec(measure="magnitude"))
    about = {"epoch": 1, "kind": "collapse", "unit": "weights", "sparsity": 0.98, "warnings": ["look."]}
    layer = {"epoch": 1, "kind": "collapse_layer", "layer": "a", "kept": 2, "total": 100, "effective": 1}
    stored(spec, tmp_path, [{**about, "effective_sparsity": 0.99, "dies_first": None, "conservation": None}, layer])
    (own,) = collapse(load(tmp_path).rows).configs.values()
    (network,) = own
    assert (network.sparsity, network.effective, network.warnings) == (pytest.approx(0.98), 0.99, ("look.",))
    assert network.layers[0].density == 0.01
