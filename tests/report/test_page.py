"""The page: self-contained, whole, honest about what is missing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from flowprune.core.errors import PruningError
from flowprune.experiments.folder import open_folder
from flowprune.experiments.spec import DataSpec, ModelSpec, PruneSpec, Spec
from flowprune.report import page, write
from flowprune.report.evidence import Evidence, load
from flowprune.report.figures import FIGURES
from flowprune.report.page import render
from flowprune.report.tables import TABLES
from tests.report import fabricate

VOID = {"meta", "path", "use", "rect", "br"}


class Balance(HTMLParser):
    """Fails on a tag that is closed out of turn."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html():
    return render(fabricate.evidence(fabricate.rows(epochs=6)))


def test_it_stands_alone(html):
    assert not re.findall(r'(?:src|href)="(?!#)', html)
    assert "<script" not in html
    assert "@import" not in html
    assert "http" not in html.replace("http://www.w3.org/", "")


def test_every_tag_is_closed_and_no_id_repeats(html):
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_it_carries_table_figures_checks_and_runs(html):
    across = [FIGURES[name].title for name in FIGURES if FIGURES[name].across]
    shown = len(FIGURES) - len(across)
    assert html.count("<figure") == shown
    assert all(f'id="s0-table-{name}"' in html for name in TABLES if TABLES[name].within)
    assert html.count('<svg class="wide"') == html.count('<svg class="narrow"') == shown
    assert html.count('role="img" aria-label="') == 2 * shown
    # What is across sparsities is no part of a comparison at one: it is neither drawn nor missed there.
    assert re.findall(r"Not recorded in these runs, so not shown: (.*?)\.</p>", html) == []
    assert "exact sparsity" in html
    assert "90 of 90" in html
    assert all(run in html for run in {row["run"] for row in fabricate.rows(epochs=1)})
    assert "33 finished runs: 3 dense, 30 pruned" in html


def test_the_same_evidence_gives_the_same_bytes():
    rows = fabricate.rows(seeds=(0,), epochs=1, rounds=(1,), measures=("magnitude", "biased_loss"))
    evidence = fabricate.evidence([row for row in rows if row["kind"] in ("epoch", "result", "look", "correlation")])
    assert render(evidence) == render(evidence)


def test_what_was_not_recorded_is_named_once_in_a_line():
    rows = [row for row in fabricate.rows(seeds=(0,), epochs=2) if row["kind"] == "epoch"]
    html = render(Evidence(tuple(rows)))
    shown = ("accuracy", "convergence", "gradient_norm")
    assert re.findall(r'<figure id="s0-(\w+)"', html) == list(shown)
    said = re.search(r"Not recorded in these runs, so not shown: (.*?)\.</p>", html)
    absent = [FIGURES[name].title for name in FIGURES if name not in shown and not FIGURES[name].across]
    assert said[1].split("; ") == absent + [TABLES[name].title for name in TABLES if TABLES[name].within]
    assert "s0-table" not in html  # no heading of an empty table
    assert "No run stored a result" in html
    assert html.count("<svg") == 2 * len(shown)


def test_the_contents_lead_to_every_chapter_figure_and_table():
    kinds = ("epoch", "result", "look")
    rows = [row for row in fabricate.rows(seeds=(0,), epochs=2, rounds=(1,)) if row["kind"] in kinds]
    other = [{**row, "model": "big_conv", "run": row["run"][::-1]} for row in rows]
    html = render(Evidence((*rows, *other)))
    links = set(re.findall(r'href="#([\w-]+)"', html.partition("<main>")[0]))
    assert links <= set(re.findall(r' id="([\w-]+)"', html))
    assert {"results-0", "results-1", "s0-accuracy", "s1-when", "across", "table-sizes", "runs"} <= links
    assert "Across the studies" in html
    assert "small_conv on digits: dense" in html  # the list of runs says which network each is of


def test_one_study_needs_no_table_across():
    rows = [row for row in fabricate.rows(seeds=(0,), epochs=1, rounds=(1,)) if row["kind"] == "result"]
    assert "Across the studies" not in render(Evidence(tuple(rows)))


def test_what_dense_runs_alone_tell_is_shown_once():
    rows = fabricate.rows(seeds=(0,), epochs=2, rounds=(1,), measures=("magnitude",))
    rows = [row for row in rows if row["kind"] in ("correlation", "scatter", "cut")]
    more = [{**row, "sparsity": 0.9, "run": row["run"][::-1]} for row in rows if row["measure"] != "dense"]
    html = render(Evidence((*rows, *more)))
    assert html.count('id="s0-correlation"') == html.count('id="s1-cuts"') == 1
    assert 'id="s1-correlation"' not in html
    assert 'id="s1-orders"' not in html


def test_columns_that_no_run_fills_are_left_out():
    rows = [row for row in fabricate.rows(seeds=(0,), epochs=1, rounds=(1,)) if row["kind"] == "result"]
    assert "latency, dense" in render(Evidence(tuple(rows)))
    bare = [{key: value for key, value in row.items() if "latency" not in key} for row in rows]
    html = render(Evidence(tuple(bare)))
    assert "latency, dense" not in html
    assert "Latency was not recorded" in html


def test_names_from_outside_are_escaped():
    rows = [{**row, "dataset": "<b>data</b>"} for row in fabricate.rows(seeds=(0,), epochs=1)]
    rows = [row for row in rows if row["kind"] in ("epoch", "result")]
    html = render(Evidence(tuple(rows)), title="<i>title</i>")
    assert "<b>data</b>" not in html
    assert "&lt;i&gt;title" in html


def test_settings_that_differ_and_seeds_that_repeat_are_told():
    rows = fabricate.rows(seeds=(0,), epochs=1, rounds=(1,), measures=("magnitude",))
    rows = [row for row in rows if row["kind"] == "result"]
    again = [{**row, "run": row["run"][::-1]} for row in rows]
    runs = sorted({row["run"] for row in rows + again})
    specs = {run: {"train.batch": 64 + index} for index, run in enumerate(runs)}
    html = render(Evidence((*rows, *again), specs))
    assert "Runs differ in train.batch" in html
    assert "one seed occurs more than once" in html


def stored(spec, root, rows):
    """A finished run folder as the experiments leave it."""
    folder = open_folder(spec, root, print)
    folder.write_environment({"torch": "2.13.0", "cores": 2})
    for row in rows:
        folder.rows.append(row)
    folder.finish()
    return folder


@pytest.fixture
def runs(tmp_path):
    """Two finished runs, dense and pruned."""
    dense = Spec(model=ModelSpec(name="mlp"), data=DataSpec(name="digits"))
    pruned = dense.model_copy(update={"prune": PruneSpec(measure="magnitude", rounds=2)})
    for spec, accuracy in ((dense, 0.9), (pruned, 0.8)):
        result = {"kind": "result", "test_accuracy_final": accuracy, "parameters": 10, "train_seconds": 1.5}
        layers = [
            {"kind": "layer", "round": k, "layer": name, "units": 8, "kept": 2} for k in (1, 2) for name in ("z", "a")
        ]
        stored(spec, tmp_path / "runs", [result] + (layers if spec is pruned else []))
    return tmp_path / "runs"


def test_write_reads_run_folders(runs):
    out = write(runs, runs / "new" / "report.html", title="A title")
    html = out.read_text(encoding="utf-8")
    assert "<h1>A title</h1>" in html
    assert "torch 2.13.0" in html
    assert "75\xa0% of the channels" in html
    assert "−10.0\xa0points" in html


def test_rows_come_in_the_order_they_were_stored(runs):
    evidence = load(runs)
    layers = [(row["round"], row["layer"]) for row in evidence.rows if row["kind"] == "layer"]
    assert layers == [(1, "z"), (1, "a"), (2, "z"), (2, "a")]
    assert {spec["train.epochs"] for spec in evidence.specs.values()} == {"20ep"}


def test_a_damaged_run_is_told(runs):
    rows = next(runs.glob("*/rows.jsonl"))
    rows.write_text(rows.read_text(encoding="utf-8") + "{}", encoding="utf-8")
    with pytest.raises(PruningError, match="damaged"):
        write(runs, runs / "report.html")


def test_no_runs_is_a_clear_error_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="Run something first"):
        write(tmp_path / "nowhere", tmp_path / "report.html")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="must be"):
        write(tmp_path / "empty", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_numbers_are_tied_to_their_units():
    assert page.bound("97.1 ± 0.4 % (n = 3)") == "97.1\xa0±\xa00.4\xa0% (n\xa0=\xa03)"
    assert page.bound("3 seeds") == "3 seeds"
    assert page.bound("at T = 200: 0.5") == "at T\xa0=\xa0200: 0.5"
