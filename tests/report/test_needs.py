"""What figures and tables need: fields that a spec has, examples that record what they promise."""

from __future__ import annotations

import itertools
import shlex

import pytest

from flowprune.cli.sweep import planned
from flowprune.experiments.spec import parse
from flowprune.experiments.studies import STUDIES
from flowprune.experiments.telling import field_of
from flowprune.measures.index import MEASURES
from flowprune.report.about import about
from flowprune.report.figures import FIGURES
from flowprune.report.needs import OFF, Needs
from flowprune.report.tables import TABLES

ALL = {f"figure {name}": FIGURES[name].needs for name in FIGURES} | {f"table {n}": TABLES[n].needs for n in TABLES}
BARE = parse({"model": {"name": "mlp"}, "data": {"name": "digits"}})


def example(needs):
    """The runs that the example asks for."""
    words = shlex.split(needs.example)
    options = dict(itertools.pairwise(words))
    settings = [value for word, value in itertools.pairwise(words) if word == "--set"]
    return planned(None, options.get("--preset"), options.get("--study"), [], settings)


@pytest.mark.parametrize("name", ALL)
def test_the_example_makes_runs_that_record_what_is_needed(name):
    needs = ALL[name]
    if needs.example:
        found = needs.of(example(needs))
        assert found
        assert not needs.field or all(field_of(spec, needs.field) not in OFF for spec in found)
    else:
        assert not needs.field  # every run records it


@pytest.mark.parametrize("name", ALL)
def test_measures_and_fields_exist(name):
    needs = ALL[name]
    assert {*needs.measures} - {"dense"} <= set(MEASURES)
    assert not needs.field or needs.field.startswith("prune.") or field_of(BARE, needs.field) is not None


def test_runs_of_a_study_that_a_figure_shows():
    small = STUDIES["lubana2021_small"].specs
    dense = tuple(spec for spec in small if spec.prune is None)
    assert FIGURES["correlation"].needs.of(small) == dense
    assert FIGURES["correlation"].needs.of(STUDIES["demo"].specs) == ()
    shown = FIGURES["convergence"].needs.of(small)
    most = {("vgg13", 10, "channels"), ("vgg13", 5, "weights")}  # each study at its own largest number of rounds
    most |= {(model, 5, "channels") for model in ("mobilenet_v1", "resnet20")}
    assert {(s.model.name, s.prune.rounds, s.prune.granularity) for s in shown if s.prune} == most
    assert {s.prune.measure for s in shown if s.prune} == {"magnitude", "loss_preservation", "biased_loss"}
    assert tuple(spec for spec in shown if spec.prune is None) == dense
    assert FIGURES["when"].needs.of(small) == ()


def test_the_error_says_what_is_missing_and_what_records_it():
    said = str(FIGURES["correlation"].needs.missing("draw(rows=)", ["epoch"]))
    assert "'correlation' records of dense runs; got ['epoch']" in said
    assert "record.track.every, as in: flowprune sweep --study lubana2021_small" in said
    assert str(Needs("result").missing("f(rows=)", [])).endswith("A run stores them whatever its spec.")


def test_what_a_spec_says_of_scoring():
    spec = {"prune.measure": "magnitude", "prune.temperature": "published", "objective.temperature": 5.0}
    assert about(spec) == {"scored_at": 5.0}
    assert about({**spec, "prune.measure": "gradient_norm_preservation"}) == {"scored_at": 1.0}
    assert about({**spec, "prune.temperature": 2.0, "prune.when": "early_bird"}) == {
        "scored_at": 2.0,
        "when": "early_bird",
    }
    assert about({**spec, "prune.temperature": None})["scored_at"] == 5.0
    assert about({"objective.temperature": 5.0}) == {}
