"""Tables over several studies: every cell by hand, what is missing shown as missing."""

from __future__ import annotations

import pytest

from flowprune.core.errors import UnknownNameError
from flowprune.report import write_table
from flowprune.report.tables import TABLES
from flowprune.report.tables.grid import Cell, Grid
from flowprune.report.tables.writing import table_of
from tests.report import fabricate

WARM = '{"prune.temperature": 1.0}'


def results(measure, *accuracies, rounds=1, model="vgg13", sparsity=0.75, **more):
    """A result for each seed."""
    dense = measure == "dense"
    about = {"kind": "result", "dataset": "cifar10", "model": model, "granularity": "" if dense else "channels"}
    about |= {"measure": measure, "rounds": 0 if dense else rounds, "sparsity": 0.0 if dense else sparsity, **more}
    return [
        {**about, "run": f"{model}{measure}{rounds}{seed}{more}", "seed": seed, "test_accuracy_final": value}
        for seed, value in enumerate(accuracies)
    ]


def body(name, rows):
    return [[str(cell) for cell in line] for line in TABLES[name].of(rows).lines]


def test_accuracies_by_model_rounds_and_measure_with_dense_beside_them():
    rows = [
        *results("dense", 0.70, 0.72),
        *results("magnitude", 0.60, 0.62),
        *results("loss_preservation", 0.61, 0.62),
        *results("biased_loss", 0.50, 0.52),
        *results("magnitude", 0.65, rounds=5),
        *results("obd", 0.30, 0.32, model="alexnet"),
        *results("gradient_norm_increase", 0.40, 0.42, setting=WARM),
    ]
    grid = TABLES["accuracy"].of(rows)
    measures = ("magnitude", "loss preservation", "biased loss", "grad-norm increase, T=1", "OBD")
    assert grid.columns == ("model", "data", "removed", "rounds", "dense", *measures)
    assert body("accuracy", rows) == [
        ["alexnet", "cifar10", "75 % of channels", "1", "–", "–", "–", "–", "–", "**31.00 ± 1.41**"],
        [
            "vgg13",
            "cifar10",
            "75 % of channels",
            "1",
            "71.00 ± 1.41",
            "61.00 ± 1.41†",
            "**61.50 ± 0.71**",
            "51.00 ± 1.41",
            "41.00 ± 1.41",
            "–",
        ],
        ["vgg13", "cifar10", "75 % of channels", "5", "71.00 ± 1.41", "**65.00** (n = 1)", "–", "–", "–", "–"],
    ]
    assert "n = 2 seeds unless a cell says otherwise" in grid.note


def test_one_seed_is_labelled_and_nothing_is_within_its_spread():
    rows = [*results("dense", 0.7), *results("magnitude", 0.6), *results("obd", 0.6001)]
    assert body("accuracy", rows)[0][4:] == ["70.00 (n = 1)", "60.00 (n = 1)", "**60.01** (n = 1)"]
    assert "n = 1 seed, so no spread is known" in TABLES["accuracy"].of(rows).note


def test_dense_runs_alone_have_a_line_and_no_accuracy_has_none():
    assert body("accuracy", results("dense", 0.7, 0.8)) == [
        ["vgg13", "cifar10", "–", "–", "75.00 ± 7.07"],
    ]
    assert TABLES["accuracy"].of(results("magnitude", float("nan"))) is None
    assert TABLES["accuracy"].of([]) is None


def test_the_gradient_norm_by_temperature_and_the_gap_to_preserving_it():
    rows = [
        *results("gradient_norm_increase", 0.50, 0.52, scored_at=200.0),
        *results("gradient_norm_increase", 0.40, 0.42, scored_at=1.0, setting=WARM),
        *results("gradient_norm_preservation", 0.60, 0.62, scored_at=1.0),
        *results("gradient_norm_preservation", 0.61, rounds=5, scored_at=1.0),
        *results("magnitude", 0.9, 0.9),
    ]
    grid = TABLES["gradient_norm"].of(rows)
    assert grid.columns[3:7] == ("rounds", "increase, T = 200", "increase, T = 1", "preservation, T = 1")
    assert grid.columns[7:] == ("preservation − increase, T = 200", "preservation − increase, T = 1")
    assert [line[3:] for line in body("gradient_norm", rows)] == [
        [
            "1",
            "51.00 ± 1.41",
            "41.00 ± 1.41",
            "61.00 ± 1.41",
            "+10.0 (10.0 to 10.0)",
            "+20.0 (20.0 to 20.0)",
        ],
        ["5", "–", "–", "61.00 (n = 1)", "–", "–"],
    ]
    assert TABLES["gradient_norm"].of(results("magnitude", 0.9)) is None


def test_counted_and_physical_sizes_of_masked_and_of_removed_filters():
    sizes = {"parameters": 500, "parameters_dense": 1000, "multiply_adds": 4000, "multiply_adds_dense": 8000}
    masked = {**sizes, "nonzeros": 250, "multiply_adds_live": 2000, "residual": "masked"}
    cut = {**sizes, "nonzeros": 500, "multiply_adds_live": 4000, "residual": "coupled"}
    rows = [
        *results("magnitude", 0.6, 0.6, model="resnet20", **masked),
        *results("magnitude", 0.6, **cut),
        *results("magnitude", 0.6, rounds=5, **{**cut, "multiply_adds_live": None}),
    ]
    run = rows[2]["run"], rows[3]["run"]
    rows += [
        {**rows[3], "kind": "cut", "round": turn, "units_before": before, "units_after": after, "run": run[1]}
        for turn, before, after in ((2, 60, 25), (1, 100, 60))
    ]
    assert body("sizes", rows) == [
        [
            "resnet20",
            "cifar10",
            "75 % of channels, masked",
            "magnitude",
            "–",
            "500 (÷ 2.00)",
            "250 (÷ 4.00)",
            "4.00 k (÷ 2.00)",
            "2.00 k (÷ 4.00)",
        ],
        [
            "vgg13",
            "cifar10",
            "75 % of channels",
            "magnitude",
            "25 of 100",
            "500 (÷ 2.00)",
            "500 (÷ 2.00)",
            "4.00 k (÷ 2.00)",
            "–",
        ],
    ]
    assert "(1 or 5)" in TABLES["sizes"].of(rows).note
    assert TABLES["sizes"].of(results("dense", 0.9, parameters=10)) is None


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_whole_and_depends_on_its_rows_alone(name):
    rows = fabricate.rows(seeds=(0, 1), epochs=1)
    rows = [row for row in rows if row["kind"] in ("result", "cut", "collapse", "collapse_layer", "pruned")]
    grid = TABLES[name].of(rows)
    assert {len(line) for line in grid.lines} == {len(grid.columns)}
    assert grid.note.endswith(".")
    assert grid.markdown() == TABLES[name].of(list(rows)).markdown()
    assert "nan" not in grid.markdown().lower()
    assert sum(len(lines) for _, lines in grid.groups) == len(grid.lines)
    assert TABLES[name].of([]) is None
    assert TABLES[name].of([{"kind": "result", "run": "a", "measure": "magnitude"}]) is None
    assert str(TABLES[name]) == TABLES[name].title


def test_a_table_is_written_as_markdown_and_nothing_else(tmp_path):
    rows = results("magnitude", 0.6)
    path = write_table(rows, "accuracy", tmp_path / "new" / "table.md")
    assert path.read_text(encoding="utf-8") == table_of(rows, "accuracy").markdown() + "\n"
    with pytest.raises(ValueError, match=r"ends in \.md"):
        write_table(rows, "accuracy", tmp_path / "table.svg")
    with pytest.raises(ValueError, match="gradient_norm_increase or gradient_norm_preservation"):
        write_table(rows, "gradient_norm", tmp_path / "table.md")
    with pytest.raises(UnknownNameError, match="Did you mean 'sizes'"):
        write_table(rows, "size", tmp_path / "table.md")


def test_names_from_outside_do_not_break_a_line():
    grid = Grid("Title", ("model", "x"), 1, ((Cell("a|b"), Cell("1")),), "Note.")
    assert "| a\\|b | 1 |" in grid.markdown()
