"""What is recorded of measures while a dense network trains."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

import flowprune as fp
from flowprune.analysis import correlation, mask_distance
from flowprune.experiments.job import run
from flowprune.experiments.parts import build
from flowprune.experiments.spec import override, parse
from flowprune.experiments.tracking import Tracker, scatter_rows

SPEC = parse(
    {
        "model": {"name": "digits_convnet", "options": {"widths": [6, 8]}},
        "data": {"name": "gaussians", "options": {"samples": 120}},
        "train": {"epochs": "4ep", "batch": 32, "learning_rate": 0.05},
        "record": {
            "flow": 2,
            "flow_samples": 32,
            "flow_training": 3,
            "track": {"every": 2, "measures": ["magnitude", "loss_preservation", "biased_loss"], "sparsity": 0.5},
            "scatter": {"epochs": [0, 4], "temperatures": [1.0, 200.0]},
        },
    }
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = run(SPEC, tmp_path_factory.mktemp("run"), listen=lambda _: None)
    rows = [json.loads(line) for line in folder.rows.path.read_text().splitlines()]
    return lambda kind: [row for row in rows if row["kind"] == kind]


def test_correlations_are_of_every_pair_globally_and_by_layer(found):
    rows = found("correlation")
    assert {row["epoch"] for row in rows} == {0, 2, 4}
    assert {(row["a"], row["b"]) for row in rows} == {
        ("magnitude", "loss_preservation"), ("magnitude", "biased_loss"), ("loss_preservation", "biased_loss")
    }  # fmt: skip
    assert {row["layer"]: row["units"] for row in rows} == {"": 14, "features.0.0.weight": 6, "features.2.0.weight": 8}
    assert all(-1 <= row[kind] <= 1 for row in rows for kind in ("pearson", "spearman"))


def test_a_correlation_is_that_of_the_scores_at_that_moment(found):
    parts = build(SPEC)
    signals = fp.gather(parts.model, parts.scored, parts.tracked)
    scores = [fp.score(name, signals, parts.granularity) for name in ("magnitude", "loss_preservation")]
    expected = correlation(*scores)
    wanted = {"epoch": 0, "a": "magnitude", "b": "loss_preservation", "layer": ""}
    (row,) = (r for r in found("correlation") if wanted.items() <= r.items())
    assert row["pearson"] == pytest.approx(expected.pearson)
    assert row["spearman"] == pytest.approx(expected.spearman)


def test_mask_distances_are_to_the_mask_before_and_to_the_last(found):
    rows = found("mask_distance")
    previous = {(r["of"], r["epoch"]): r["distance"] for r in rows if r["to"] == "previous"}
    final = {(r["of"], r["epoch"]): r["distance"] for r in rows if r["to"] == "final"}
    assert {epoch for _, epoch in previous} == {2, 4}
    assert {epoch for _, epoch in final} == {0, 2, 4}
    for name in ("magnitude", "loss_preservation", "biased_loss"):
        assert final[name, 4] == 0.0
        assert final[name, 2] == previous[name, 4]  # the last step is the same pair
        assert final[name, 0] <= previous[name, 2] + previous[name, 4] + 1e-12  # a distance obeys the triangle


def test_the_packed_distance_is_the_distance_of_masks():
    parts = build(SPEC)
    tracker = Tracker(SPEC.record.track)
    drawn = []
    for epoch in (0, 2):
        list(tracker.rows(parts, epoch))
        signals = fp.gather(parts.model, parts.scored, parts.tracked)
        drawn.append(fp.select(fp.score("magnitude", signals, parts.granularity), 0.5, min_keep=1))
        with torch.no_grad():
            for param in parts.model.parameters():
                param.copy_(torch.randn(param.shape, generator=torch.Generator().manual_seed(epoch)))
    rows = [r for r in tracker.last_rows() if r["of"] == "magnitude"]
    assert rows[0]["distance"] == mask_distance(*drawn) > 0


def test_a_tracker_goes_on_from_its_tensors():
    parts = build(SPEC)
    first, second = Tracker(SPEC.record.track), Tracker(SPEC.record.track)
    list(first.rows(parts, 0))
    second.restore(first.tensors())
    assert list(first.rows(parts, 2)) == list(second.rows(parts, 2))
    assert list(first.last_rows()) == list(second.last_rows())


def test_the_scatter_holds_every_unit_at_every_temperature(found):
    rows = found("scatter")
    assert {(row["epoch"], row["temperature"]) for row in rows} == {(0, 1.0), (0, 200.0), (4, 1.0), (4, 200.0)}
    for row in rows:
        assert sum(row["sizes"]) == len(row["first"]) == len(row["second"]) == 14
        assert row["pearson"] == pytest.approx(np.corrcoef(row["first"], row["second"])[0, 1], abs=1e-4)


def test_the_scatter_is_theta_g_and_theta_hg():
    parts = build(SPEC)
    (row,) = scatter_rows(parts, (5.0,), 0)
    objective, needs = fp.objectives.cross_entropy(temperature=5.0), ("gradient", "hessian_gradient")
    signals = fp.gather(parts.model, objective, parts.tracked, needs=needs)
    weight = "features.0.0.weight"
    for key, tensor in (("first", signals.gradient), ("second", signals.hessian_gradient)):
        expected = (signals.params[weight] * tensor[weight]).flatten(1).sum(1)
        assert row[key][:6] == pytest.approx(expected.tolist(), rel=1e-4)


def test_real_steps_are_followed_after_each_record_of_the_flow(found):
    rows = found("training_flow")
    assert [row["epoch"] for row in rows] == [0, 2]  # after the last there is no step
    for row in rows:
        assert row["steps"] == 3
        assert row["momentum"] == pytest.approx(row["measured"], rel=1e-3)


def test_nothing_is_tracked_once_units_are_cut(tmp_path):
    spec = override(SPEC, {"prune.measure": "magnitude", "prune.samples": 32})
    folder = run(spec, tmp_path, listen=lambda _: None)
    rows = [json.loads(line) for line in folder.rows.path.read_text().splitlines()]
    assert {row["epoch"] for row in rows if row["kind"] in ("correlation", "scatter")} == {0}
    assert all(a["epoch"] <= b["epoch"] for a, b in pairwise(r for r in rows if r["kind"] == "epoch"))


def test_every_column_has_one_type_over_all_kinds_of_rows(tmp_path):
    """Rows are read together: a field that is a number in one kind and a list in another would be text in both."""
    waiting = {"prune.when": "after", "prune.when_options": {"looks": 1}, "record.agreement": ["magnitude", "fisher"]}
    spec = override(SPEC, {"prune.measure": "magnitude", "prune.samples": 32, **waiting})
    folder = run(spec, tmp_path, listen=lambda _: None)
    types = {}
    for row in map(json.loads, folder.rows.path.read_text().splitlines()):
        for key, value in row.items():
            kind = float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
            if value is not None:
                types.setdefault(key, set()).add(kind)
    assert {key: kinds for key, kinds in types.items() if len(kinds) > 1} == {}
