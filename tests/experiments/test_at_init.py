"""Runs that are pruned before their first step: recorded, resumable, and refused where a field means nothing."""

from __future__ import annotations

import json

import pytest
import torch

import flowprune as fp
import flowprune.experiments.job as job_module
from flowprune.core.errors import UnknownNameError
from flowprune.experiments.job import run
from flowprune.experiments.parts import build
from flowprune.experiments.spec import Spec, override, parse
from flowprune.experiments.store import records, rows_of
from flowprune.experiments.studies import STUDIES
from flowprune.experiments.telling import field_of, settings

SPEC = parse(
    {
        "model": {"name": "digits_convnet", "options": {"widths": [6, 8]}},
        "data": {"name": "gaussians", "options": {"samples": 120}},
        "train": {"epochs": "3ep", "batch": 32, "learning_rate": 0.05},
        "prune": {"recipe": "snip", "at": "init", "sparsity": 0.8, "samples": 32, "granularity": "weights"},
        "record": {"flow": "none", "checkpoint": 1},
    }
)
TIMES = ("seconds", "gather_seconds", "cut_seconds", "train_seconds")


def silent(_: object) -> None:
    pass


def rows(folder: fp.experiments.RunFolder) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in folder.rows.path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def of(folder: fp.experiments.RunFolder, kind: str) -> list[dict[str, object]]:
    return [row for row in rows(folder) if row["kind"] == kind]


@pytest.mark.parametrize("recipe", ["snip", "synflow", "force", "erk", "magnitude", "phew"])
def test_a_recipe_prunes_before_the_first_step_and_the_masks_hold(recipe: str, tmp_path) -> None:
    folder = run(override(SPEC, {"prune.recipe": recipe}), tmp_path, listen=silent)
    (cut,) = of(folder, "cut")
    assert (cut["epoch"], cut["round"]) == (0, 1)
    assert cut["iterations"] == fp.RECIPES[recipe].rounds
    result = of(folder, "result")[0]
    assert result["achieved_sparsity"] == pytest.approx(0.8, abs=0.002)
    model = fp.load(build(SPEC).model, folder.path)
    weights = [p for p in model.parameters() if p.ndim >= 2]
    zeros, total = sum(int((p == 0).sum()) for p in weights), sum(p.numel() for p in weights)
    assert zeros >= round(0.8 * total)
    kinds = [row["kind"] for row in rows(folder)]
    assert kinds.index("cut") < kinds.index("epoch")


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("recipe", ["snip", "synflow", "erk", "uniform_plus"])
def test_a_recipe_can_take_its_scores_as_often_as_is_asked(recipe: str, iterations: int, tmp_path) -> None:
    folder = run(override(SPEC, {"prune.recipe": recipe, "prune.iterations": iterations}), tmp_path, listen=silent)
    (cut,) = of(folder, "cut")
    assert cut["iterations"] == iterations
    assert cut["achieved_sparsity"] == pytest.approx(0.8, abs=0.002)
    assert "stages" not in cut


def test_adaptive_stages_before_the_first_step_are_told_of(tmp_path) -> None:
    asked = {"prune.measure": "lm", "prune.schedule": "adaptive", "prune.iterations": 20}
    spec = override(SPEC, {**asked, "prune.schedule_options": {"tolerance": 0.4, "full": True}})
    (cut,) = of(run(spec, tmp_path, listen=silent), "cut")
    assert 1 < cut["stages"] == cut["iterations"] <= 20
    assert cut["stage_tolerance"] == 0.4
    assert 0 <= cut["stages_within"] <= cut["stages"] <= cut["stage_trials"]


def test_the_diagnosis_is_recorded_by_layer(tmp_path) -> None:
    folder = run(SPEC, tmp_path, listen=silent)
    (whole,) = of(folder, "collapse")
    layers = of(folder, "collapse_layer")
    assert whole["epoch"] == 0
    assert whole["unit"] == "weights"
    assert whole["largest_safe_sparsity"] > 0.8
    assert whole["dies_first"] in {row["layer"] for row in layers}
    kept, total = (sum(row[name] for row in layers) for name in ("kept", "total"))
    assert whole["achieved_sparsity"] == pytest.approx(1 - kept / total)
    assert sum(row["effective"] for row in layers) == round((1 - whole["effective_sparsity"]) * total)
    assert {row["layer"] for row in layers} == {row["layer"] for row in of(folder, "layer")}
    (read,) = rows_of(records(tmp_path), "collapse")
    assert (read["dies_first"], read["sparsity"]) == (whole["dies_first"], 0.8)  # asked for, beside achieved_sparsity


def test_runs_that_cut_channels_in_training_are_diagnosed_too(tmp_path) -> None:
    fields = {
        "prune.measure": "magnitude",
        "prune.at": "training",
        "prune.granularity": "channels",
        "prune.sparsity": 0.5,
    }
    folder = run(override(SPEC, fields), tmp_path, listen=silent)
    (whole,) = of(folder, "collapse")
    assert whole["epoch"] == 1
    assert of(folder, "collapse_layer")[0]["effective"] is None


@pytest.mark.parametrize("changes", [{}, {"prune.ablations": ["shuffle", "reinitialize"]}])
def test_a_stopped_run_goes_on_to_the_same_end(changes: dict[str, object], tmp_path, monkeypatch) -> None:
    spec = override(SPEC, changes)
    whole = run(spec, tmp_path / "whole", listen=silent)

    class Stopped(BaseException):
        pass

    original = job_module._Job._after_epoch

    def stop(self, now) -> None:
        if now.epoch == 2:
            raise Stopped
        original(self, now)

    monkeypatch.setattr(job_module._Job, "_after_epoch", stop)
    with pytest.raises(Stopped):
        run(spec, tmp_path / "broken", listen=silent)
    monkeypatch.setattr(job_module._Job, "_after_epoch", original)
    assert rows(run(spec, tmp_path / "broken", listen=silent)) == rows(whole)


def test_ablations_change_what_they_say(tmp_path) -> None:
    plain, shuffled, fresh = (
        run(override(SPEC, changes), tmp_path, listen=silent)
        for changes in ({}, {"prune.ablations": ["shuffle"]}, {"prune.score_on": "fresh_draw"})
    )
    counts = [{row["layer"]: row["kept"] for row in of(folder, "layer")} for folder in (plain, shuffled, fresh)]
    assert counts[0] == counts[1] != counts[2]
    assert of(plain, "epoch") != of(shuffled, "epoch")


def test_weights_of_a_run_without_ablations_are_those_of_its_seed(tmp_path) -> None:
    folder = run(override(SPEC, {"train.learning_rate": 1e-30}), tmp_path, listen=silent)
    dense = build(SPEC).model
    model = fp.load(dense, folder.path)
    for name, param in model.named_parameters():
        kept = param != 0
        assert torch.equal(param[kept], dense.get_parameter(name)[kept]) or param.ndim < 2


def test_a_recipe_is_told_as_a_measure_is() -> None:
    assert SPEC.columns["measure"] == "snip"
    assert field_of(SPEC, "prune.measure") == "snip"
    told = settings([SPEC, override(SPEC, {"prune.ablations": ["shuffle"]})])
    assert told == [{"prune.ablations": []}, {"prune.ablations": ["shuffle"]}]
    assert settings([SPEC, override(SPEC, {"prune.recipe": "synflow"})]) == [{}, {}]


def test_a_measure_takes_the_place_of_a_recipe_and_the_other_way_round() -> None:
    by_measure = override(SPEC, {"prune.measure": "magnitude"})
    assert by_measure.prune is not None
    assert (by_measure.prune.measure, by_measure.prune.recipe) == ("magnitude", None)
    assert override(by_measure, {"prune.recipe": "snip"}) == SPEC
    assert override(SPEC, {"prune.measure": "dense"}).prune is None


def test_fields_that_came_later_leave_older_runs_their_identity() -> None:
    plain = parse({"model": {"name": "mlp"}, "data": {"name": "digits"}, "prune": {"measure": "fisher"}})
    spelled = {"at": "training", "ablations": [], "score_on": "own_weights", "rescale": "recipe"}
    same = {"model": {"name": "mlp"}, "data": {"name": "digits"}, "prune": {"measure": "fisher", **spelled}}
    assert plain.run_id == parse(same).run_id
    assert plain.run_id != override(plain, {"prune.granularity": "weights"}).run_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune.measure": "magnitude", "prune.recipe": "snip"}, "exactly one of the two"),
        ({"prune.recipe": "snipe"}, "RECIPES"),
        ({"prune.rounds": 3}, r"prune.rounds\) must be 1 with prune.at='init'"),
        ({"prune.every": "2ep"}, r"prune.every\) must be '1ep' with prune.at='init'"),
        ({"prune.granularity": "channels"}, "one of weights, nm, blocks with prune.at='init'"),
        ({"prune.at": "training"}, r"prune.recipe\) must be None with prune.at='training'"),
        ({"prune.ablations": ["mix"]}, "prune.ablations"),
        ({"prune.ablations": ["shuffle", "shuffle"]}, "of different names"),
        ({"prune.recipe": "synflow", "prune.temperature": 5.0}, "which takes no labels"),
        ({"prune.temperature": "published"}, "a number, or left out"),
        (
            {"prune.recipe": "iter_snip", "prune.schedule": "linear"},
            r"prune.schedule\) must be 'rounds' with prune.recipe",
        ),
        ({"prune.momentum": "slice"}, r"prune.momentum\) must be 'reset' with prune.at='init'"),
        ({"prune.recipe": "erk", "prune.scope": "local"}, "'global' with prune.recipe='erk'"),
        ({"prune.granularity": "nm:2:4"}, r"prune.sparsity\) must be 0.5"),
    ],
)
def test_what_a_spec_refuses(changes: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, UnknownNameError), match=message):
        override(SPEC, changes)


@pytest.mark.parametrize("measure", ["synflow", "prospr", "ntk_sap"])
@pytest.mark.parametrize("at", ["init", "training"])
def test_measures_with_an_objective_of_their_own(measure: str, at: str, tmp_path) -> None:
    folder = run(
        override(SPEC, {"prune.measure": measure, "prune.at": at, "record.cuts": "none"}), tmp_path, listen=silent
    )
    assert folder.finished


def test_force_in_rounds_of_training_could_not_be_resumed() -> None:
    with pytest.raises(ValueError, match="one whose cuts stay cut, where there are several rounds in training"):
        override(SPEC, {"prune.measure": "force", "prune.at": "training", "prune.rounds": 2, "train.epochs": "9ep"})


def test_a_temperature_is_that_of_the_recipes_loss(tmp_path) -> None:
    runs = [
        run(override(SPEC, {"prune.recipe": "prospr", "prune.temperature": t}), tmp_path, listen=silent)
        for t in (1.0, 50.0)
    ]
    counts = [{row["layer"]: row["kept"] for row in of(folder, "layer")} for folder in runs]
    assert counts[0] != counts[1]


def test_the_studies_can_be_built() -> None:
    assert len(STUDIES["init_small"].specs) == 126
    depth = STUDIES["depth"].specs
    assert {spec.model.options["activation"] for spec in depth} == {"tanh", "relu"}
    assert all((isinstance(spec, Spec) and spec.prune is None) or spec.prune.at == "init" for spec in depth)
    deep = build(depth[0]).model
    assert len([m for m in deep.modules() if isinstance(m, torch.nn.Linear)]) == 101
