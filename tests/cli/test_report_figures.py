"""``flowprune report --figure``: one figure or table, what a study lacks of it, and the commands that make it."""

from __future__ import annotations

import io
from random import Random

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flowprune.cli.main import application
from flowprune.cli.missing import filters
from flowprune.cli.results import print_results
from flowprune.cli.sweep import chosen
from flowprune.experiments.archive import Archive
from flowprune.experiments.folder import open_folder
from flowprune.experiments.spec import override
from flowprune.experiments.store import records
from flowprune.experiments.studies import STUDIES
from flowprune.experiments.study import unanswered
from flowprune.report.figures import FIGURES
from flowprune.report.tables import TABLES

SMALL = STUDIES["lubana2021_small"]


def invoke(*args):
    return CliRunner().invoke(application(), [str(each) for each in args])


def said(result):
    return " ".join(result.output.split())


def stored(root, spec, accuracy=0.5, **more):
    """A finished run of three epochs, as a job leaves it."""
    folder = open_folder(spec, root, print)
    folder.write_environment({"torch": "2"})
    for epoch in (1, 2, 3):
        values = {"train_accuracy": accuracy, "test_accuracy": accuracy, "train_loss": 1.0, "learning_rate": 0.1}
        folder.rows.append({"kind": "epoch", "epoch": epoch, **values})
    if spec.prune:
        folder.rows.append({"kind": "cut", "round": 1, "epoch": 1, "units_before": 8, "units_after": 2})
        folder.rows.append({"kind": "layer", "round": 1, "layer": "conv", "units": 8, "kept": 2})
        folder.rows.append({"kind": "collapse", "epoch": 1, "unit": "channels", "warnings": []})
        folder.rows.append({"kind": "pruned", "epoch": 1, "train_loss_before": 0.1, "train_loss_after": 1.0})
    else:
        units = {"layers": ["conv"], "sizes": [4], "first": [1.0, 2.0, 3.0, 4.0], "second": [1.0, 2.0, 4.0, 3.0]}
        folder.rows.append({"kind": "scatter", "epoch": 0, "temperature": 1.0, **units, "spearman": 0.8})
    folder.rows.append({"kind": "result", "test_accuracy_final": accuracy, "parameters": 100, **more})
    folder.finish()


def some(*only):
    return chosen(SMALL.specs, ["data.name=cifar10", "seed=0", *only])


@pytest.fixture
def runs(tmp_path):
    """Dense and magnitude in 10 rounds, VGG-13 on CIFAR-10, seed 0."""
    root = tmp_path / "runs"
    vgg = some("model.name=vgg13", "prune.measure=dense,magnitude")
    for spec in vgg:
        if spec.prune is None or spec.prune.rounds == 10:
            stored(root, spec)
    return root


def test_what_is_missing_is_listed_and_what_is_there_is_drawn(runs, tmp_path):
    result = invoke(
        "report", runs, "--figure", "convergence", "--study", "lubana2021_small", "--out", tmp_path / "a.svg"
    )
    assert result.exit_code == 0
    count = len(FIGURES["convergence"].needs.of(SMALL.specs))
    assert f"{count - 2} of {count} runs of the study 'lubana2021_small' are missing:" in result.output
    assert "  vgg13 on cifar10, magnitude, 10 rounds, 75 % of channels: seeds 1, 2\n" in result.output
    assert "  mobilenet_v1 on cifar10, dense: seeds 0, 1, 2\n" in result.output
    assert "1 round," not in result.output
    assert f"flowprune sweep --study lubana2021_small --only prune.measure=dense --runs {runs}\n" in result.output
    assert f"Figure: {tmp_path / 'a.svg'} (vgg13 on cifar10, 75 % of channels removed)" in result.output
    assert "magnitude has the mean train accuracy" in result.output
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


def test_nothing_is_said_to_be_missing_where_nothing_is(tmp_path):
    root = tmp_path / "runs"
    for spec in STUDIES["demo"].specs:
        stored(root, spec)
    result = invoke("report", root, "--figure", "layers", "--study", "demo", "--out", tmp_path / "a.png")
    assert result.exit_code == 0
    assert "missing" not in result.output
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_on_another_device_is_there(tmp_path):
    elsewhere = [override(spec, {"device": "cuda", "threads": 2}) for spec in STUDIES["demo"].specs]
    pruned = FIGURES["layers"].needs.of(STUDIES["demo"].specs)
    assert unanswered(pruned, elsewhere) == ()
    slower = [override(spec, {"train.batch": 32}) for spec in STUDIES["demo"].specs]
    assert unanswered(pruned, slower) == pruned
    assert len(pruned) == 30


def test_rows_that_no_run_holds_are_an_error_that_says_what_records_them(runs, tmp_path):
    result = invoke("report", runs, "--figure", "correlation", "--out", tmp_path / "a.svg")
    assert result.exit_code == 2
    assert "'correlation' records of dense runs" in result.output
    assert "sets record.track.every, as in: flowprune sweep --study lubana2021_small" in said(result)
    assert not (tmp_path / "a.svg").exists()


def test_where_nothing_was_run_all_of_a_study_is_missing(tmp_path):
    result = invoke("report", tmp_path / "runs", "--figure", "orders", "--study", "lubana2021_small")
    assert result.exit_code == 2
    count = sum(spec.prune is None for spec in SMALL.specs)
    assert f"{count} of {count} runs of the study 'lubana2021_small' are missing:" in result.output
    assert f"--only prune.measure=dense --runs {tmp_path / 'runs'}" in said(result)
    assert "Run something first" in result.output


def test_a_study_that_does_not_record_it_is_told(runs):
    result = invoke("report", runs, "--figure", "correlation", "--study", "demo")
    assert result.exit_code == 2
    assert "The study 'demo' has no run that records this: none sets record.track.every." in result.output


def test_a_figure_and_a_table_of_one_name_lack_the_same_runs_once(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("report", runs, "--figure", "accuracy", "--study", "demo")
    assert result.exit_code == 0
    assert result.output.count("33 of 33 runs of the study 'demo' are missing:") == 1


def test_the_runs_of_an_archive_are_not_made_in_it(runs, tmp_path):
    kept = tmp_path / "kept"
    Archive(kept).merge(records(runs))
    result = invoke("report", kept, "--figure", "sizes", "--study", "lubana2021_small")
    assert result.exit_code == 0
    assert f"--archive {kept} --runs runs\n" in result.output
    assert f"  flowprune collect runs --into {kept}\n" in result.output
    assert "| vgg13 | cifar10 | 75 % of channels | magnitude | 2 of 8 | 100 |" in result.output


def test_the_page_of_a_study_tells_all_that_it_lacks(runs, tmp_path):
    result = invoke("report", runs, "--study", "lubana2021_small", "--out", tmp_path / "page.html")
    assert result.exit_code == 0
    assert f"{len(SMALL.specs) - 2} of {len(SMALL.specs)} runs of the study" in result.output
    assert (tmp_path / "page.html").exists()
    assert "Did you mean 'lubana2021'" in invoke("report", runs, "--study", "lubana202").output


def test_several_comparisons_are_several_files_by_name(runs, tmp_path):
    stored(runs, some("model.name=vgg13", "prune.granularity=weights", "prune.measure=magnitude")[0])
    stored(runs, some("model.name=mobilenet_v1", "prune.measure=dense")[0])
    layers = invoke("report", runs, "--figure", "layers", "--out", tmp_path / "l.svg")
    assert {path.name for path in tmp_path.glob("l*.svg")} == {
        "l-vgg13-cifar10-75-channels.svg",
        "l-vgg13-cifar10-95-weights.svg",
    }
    assert layers.output.count("Figure: ") == 2
    assert invoke("report", runs, "--figure", "orders", "--out", tmp_path / "o.svg").exit_code == 0
    assert {path.name for path in tmp_path.glob("o*.svg")} == {"o-vgg13-cifar10.svg", "o-mobilenet_v1-cifar10.svg"}


def test_a_figure_goes_to_its_name_and_a_table_to_the_terminal(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert invoke("report", runs, "--figure", "tradeoff").exit_code == 0
    assert (tmp_path / "tradeoff.svg").exists()
    both = invoke("report", runs, "--figure", "accuracy")
    assert (tmp_path / "accuracy.svg").exists()
    assert both.stdout.startswith("**Final test accuracy, %**")
    assert "| vgg13 | cifar10 | 75 % of channels | 10 | 50.00 (n = 1) | **50.00** (n = 1) |" in both.stdout
    assert "Figure: accuracy.svg" in both.stderr


def test_runs_computed_in_different_ways_are_one_cell_and_the_reader_is_told(tmp_path):
    runs = tmp_path / "runs"
    for seed, precision in ((0, "float32"), (1, "bfloat16")):
        (spec,) = chosen(SMALL.specs, [f"seed={seed}", "model.name=vgg13", "data.name=cifar10", "prune.measure=dense"])
        stored(runs, override(spec, {"execution.precision": precision}))
    table = invoke("report", runs, "--figure", "accuracy", "--out", tmp_path / "a.md")
    assert "Runs of one cell differ in execution.precision (float32, bfloat16): how they were computed." in said(table)
    assert "| 50.00 ± 0.00 |" in (tmp_path / "a.md").read_text()
    invoke("report", runs, "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "They are taken together." in page
    assert "each value has rows of its own" not in page


@pytest.mark.parametrize("name", TABLES)
def test_the_ending_of_a_file_chooses_between_figure_and_table(runs, tmp_path, name):
    spec = some("model.name=vgg13", "prune.measure=gradient_norm_preservation", "prune.rounds=10")[0]
    stored(runs, spec)
    path = tmp_path / "table.md"
    result = invoke("report", runs, "--figure", name, "--out", path)
    assert result.output == f"Table: {path}\n"
    assert path.read_text().startswith(f"**{TABLES[name]}**\n\n| model | data |")
    other = invoke("report", runs, "--figure", name, "--out", tmp_path / "table.svg")
    assert (other.exit_code == 0) == (name in FIGURES)
    assert name in FIGURES or "ends in .md, for a table" in said(other)


def test_names_and_endings_that_are_not_are_told(runs, tmp_path):
    unknown = invoke("report", runs, "--figure", "convergance")
    assert unknown.exit_code == 2
    assert "Did you mean 'convergence'? Known: accuracy, agreement," in said(unknown)
    assert "sizes" in unknown.output
    assert "ends in .svg or .png" in said(invoke("report", runs, "--figure", "layers", "--out", tmp_path / "a.md"))
    assert "ends in .svg or .png" in said(invoke("report", runs, "--figure", "layers", "--out", tmp_path / "a.pdf"))
    assert "That is a folder" in said(invoke("report", runs, "--figure", "layers", "--out", tmp_path))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", FIGURES)
def test_the_commands_make_what_is_missing_and_no_more(name, seed):
    """Of a study of which a third is done, whichever third."""
    left = Random(seed).sample(SMALL.specs, 2 * len(SMALL.specs) // 3)
    wanted = FIGURES[name].needs.of(left)
    known = {spec.run_id for spec in wanted}
    commands = filters(SMALL, wanted, [spec for spec in left if spec.run_id not in known])
    assert {spec.run_id for only in commands for spec in chosen(left, only)} == known
    assert len(commands) <= 4


def test_the_terminal_shows_whole_columns_or_none(tmp_path):
    root = tmp_path / "runs"
    chosen_ones = some("model.name=vgg13", "prune.granularity=channels", "prune.measure=gradient_norm_increase")
    for spec in [*chosen_ones, *some("model.name=vgg13", "prune.measure=dense")]:
        stored(root, spec, multiply_adds=14_599_424, bytes=2_374_072)

    def printed(width):
        out = io.StringIO()
        print_results(root, Console(file=out, width=width))
        return out.getvalue()

    wide, narrow = printed(140), printed(80)
    assert "…" not in wide + narrow
    assert "14,599,424" in wide
    assert "0.75 channels" in wide
    assert "ms dense" not in wide
    assert "vgg13 on cifar10, 0.75 channels removed" in narrow
    assert "left out for want of room: bytes, mult-adds, parameters" in " ".join(narrow.split())
    lines = [line.partition("50.00")[0] for line in narrow.splitlines() if line.startswith("gradient_norm")]
    rounds = [line.split()[-1] for line in lines]
    assert rounds == ["1", "1", "5", "5", "10", "10"]
    assert wide.splitlines().count(" " * len(wide.splitlines()[0])) >= 3  # a blank line before each number of rounds
