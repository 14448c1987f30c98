"""Figures: the same rows give the same bytes, at both widths, and odd rows do not break them."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest

from flowprune.core.errors import UnknownNameError
from flowprune.report import write_figure
from flowprune.report.figures import FIGURES
from flowprune.report.figures.marks import dodge
from flowprune.report.figures.sheet import PIXELS
from flowprune.report.figures.svg import inline, svg
from flowprune.report.figures.writing import write_figures
from flowprune.report.theme import COLOURS, styles
from tests.report import fabricate


@pytest.fixture(scope="module")
def small():
    """Fewer epochs, for speed."""
    return fabricate.rows(epochs=6)


@pytest.mark.parametrize("width", PIXELS)
@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_sound_svg_of_the_asked_width(small, name, width):
    text = svg(FIGURES[name].of(fabricate.wanted(FIGURES[name], small)).draw(width))
    root = ET.fromstring(text)
    assert float(root.get("viewBox").split()[2]) == PIXELS[width]
    assert "nan" not in re.sub(r">[^<]*<", "><", text).lower()
    assert "<text" in text


def test_the_same_rows_give_the_same_bytes(small, tmp_path):
    for name in ("accuracy", "cuts"):
        one = write_figure(small, name, tmp_path / "one.svg").read_bytes()
        assert write_figure(list(small), name, tmp_path / "two.svg").read_bytes() == one


def test_png_by_its_ending_and_no_other_ending(small, tmp_path):
    assert write_figure(small, "agreement", tmp_path / "a" / "b.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"\.svg or \.png"):
        write_figure(small, "agreement", tmp_path / "b.pdf")


def test_what_the_rows_do_not_hold_is_an_error_that_names_it(small, tmp_path):
    epochs = [row for row in small if row["kind"] == "epoch"]
    with pytest.raises(ValueError, match="'flow'"):
        write_figure(epochs, "flow", tmp_path / "a.svg")
    with pytest.raises(UnknownNameError, match="Known: accuracy"):
        write_figure(epochs, "accurracy", tmp_path / "a.svg")


def test_a_figure_across_sparsities_is_one_file_for_a_model_and_data_set(small, tmp_path):
    rows = fabricate.wanted(FIGURES["depth"], small)
    (one,) = write_figures(rows, "depth", tmp_path / "depth.svg")
    assert (one.path.name, one.comparison) == ("depth.svg", "small_conv on digits")
    assert write_figure(rows, "depth", tmp_path / "again.svg").read_bytes() == one.path.read_bytes()
    other = [{**row, "model": "mlp", "granularity": "weights"} for row in rows]
    found = write_figures([*rows, *other], "depth", tmp_path / "depth.svg")
    assert [each.path.name for each in found] == ["depth-mlp-digits-weights.svg", "depth-small_conv-digits.svg"]
    with pytest.raises(ValueError, match="one data set, model and kind of units"):
        write_figure([*rows, *other], "depth", tmp_path / "a.svg")
    with pytest.raises(ValueError, match="'result'"):
        write_figure(small, "depth", tmp_path / "a.svg")


def test_rows_of_several_studies_are_refused(small, tmp_path):
    other = [{**row, "sparsity": 0.9} if row["measure"] != "dense" else row for row in small]
    with pytest.raises(ValueError, match="one data set, model and sparsity"):
        write_figure([*small, *other], "accuracy", tmp_path / "a.svg")


def test_inline_figures_share_no_ids_and_take_their_colours_from_the_page(small):
    drawn = FIGURES["flow"].of(small)
    texts = [inline(drawn.draw(width), f"flow-{width}", 'the "norm"') for width in PIXELS]
    ids = [found for text in texts for found in re.findall(r' id="([^"]+)"', text)]
    assert len(ids) == len(set(ids)) > 0
    for text in texts:
        used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
        assert used <= set(ids)
        assert not [colour for colour in COLOURS if colour in text]
        assert "var(--ink)" in text
        assert "&quot;norm&quot;" in text
        assert "<style" not in text


def test_drawing_leaves_the_settings_of_matplotlib_as_found(small):
    before = dict(mpl.rcParams)
    svg(FIGURES["accuracy"].of(small).draw("wide"))
    assert dict(mpl.rcParams) == before


def odd_rows():
    """Rows that are unusual but honest: name -> rows."""
    many = tuple(f"measure_{index:02d}" for index in range(15))
    three = fabricate.MEASURES[:3]
    base = fabricate.rows(seeds=(0,), epochs=2, measures=three)
    return {
        "one seed": base,
        "dense alone": [row for row in base if row["measure"] == "dense"],
        "pruned alone": [row for row in base if row["measure"] == "magnitude"],
        "one epoch": fabricate.rows(seeds=(0, 1), epochs=1, rounds=(1,), measures=three),
        "three schedules": fabricate.rows(seeds=(0, 1), epochs=2, rounds=(1, 5, 25), measures=three),
        "many measures": fabricate.rows(seeds=(0,), epochs=2, rounds=(1,), measures=many),
        "deep": [{**r, "layer": f"stage.{i}.conv"} if r["kind"] == "layer" else r for i, r in enumerate(base)],
        "all alike": [{k: 0.5 if isinstance(v, float) and k != "sparsity" else v for k, v in r.items()} for r in base],
        "all zero": [{k: 0.0 if isinstance(v, float) and k != "sparsity" else v for k, v in r.items()} for r in base],
        "perfect": [{k: 1.0 if "accuracy" in k else v for k, v in r.items()} for r in base],
        "huge": [{k: v * 1e9 if "measured" in k else v for k, v in r.items()} for r in base],
        "no number finite": [{k: float("nan") if isinstance(v, float) else v for k, v in r.items()} for r in base],
        "hardly a field": [{"kind": r["kind"], "run": r["run"], "measure": r["measure"]} for r in base],
    }


@pytest.mark.parametrize("case", odd_rows())
def test_odd_rows_are_drawn_or_left_out_but_never_break(case):
    for name in FIGURES:
        drawn = FIGURES[name].of(fabricate.wanted(FIGURES[name], odd_rows()[case]))
        if drawn is not None:
            assert drawn.sentence
            ET.fromstring(svg(drawn.draw("narrow")))


@pytest.mark.parametrize("name", ["accuracy", "convergence", "gradient_norm"])
def test_bands_are_drawn_whole(small, name):
    """Seeds far apart, so that a band reaches far below the lowest mean."""
    shifts = {0: 0.0, 1: 0.2, 2: 0.4}
    rows = [
        {**row, **{key: 0.4 * value + shifts[row["seed"]] for key, value in row.items() if key.endswith("accuracy")}}
        for row in small
        if row["kind"] in ("epoch", "cut")
    ]
    drawn = FIGURES[name].of(rows).draw("wide")
    for axes in drawn.axes:
        low, high = axes.get_ylim()
        heights = [y for band in axes.collections for path in band.get_paths() for y in path.vertices[:, 1]]
        assert low <= min(heights)
        assert max(heights) <= high


def test_a_lone_last_panel_takes_its_row():
    panels = FIGURES["accuracy"].of(fabricate.rows(seeds=(0,), epochs=12, rounds=(1, 5, 10))).draw("wide").axes
    widths = [axes.get_position().width for axes in panels]
    assert widths[0] == pytest.approx(widths[1])
    assert panels[2].get_position().x1 == pytest.approx(panels[1].get_position().x1)
    assert panels[2].get_position().x0 == pytest.approx(panels[0].get_position().x0)


def test_a_ring_stands_about_each_mark_that_the_floor_held_back_and_nowhere_else():
    about = {"kind": "layer", "measure": "magnitude", "rounds": 1, "round": 1, "seed": 0, "run": "r", "units": 10}
    rows = [{**about, "layer": f"l.{i}", "kept": kept, "floor_hit": kept == 1} for i, kept in enumerate((9, 1, 5, 1))]
    (axes,) = FIGURES["layers"].of(rows).draw("wide").axes
    rings = [line for line in axes.lines if line.get_markersize() == 10]
    assert [(x, y) for line in rings for x, y in line.get_xydata()] == [(10.0, 1.0), (10.0, 3.0)]
    assert not axes.texts


def test_labels_keep_their_order_and_their_distance():
    placed = dodge([10.0, 11.0, 12.0, 40.0, 5.0], 15.0)
    ranked = sorted(zip([10.0, 11.0, 12.0, 40.0, 5.0], placed, strict=True))
    heights = [label for _, label in ranked]
    assert all(b - a >= 15.0 - 1e-9 for a, b in itertools.pairwise(heights))


def test_known_measures_keep_their_look_whatever_else_is_there():
    few, many = styles(["magnitude", "dense"]), styles(["magnitude", "dense", "synflow", "obd", "aaa"])
    assert few["magnitude"] == many["magnitude"]
    assert len({(style.colour, style.marker) for style in many.values()}) == 5
