"""The commands on real, small input."""

from __future__ import annotations

import io
import json
import re
import textwrap

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import flowprune as fp
from flowprune.cli.main import application

SPEC = """
name = "tiny"
[model]
name = "mlp"
options = { widths = [12, 8] }
[data]
name = "gaussians"
options = { samples = 120 }
[train]
epochs = "3ep"
batch = 32
[prune]
measure = "magnitude"
sparsity = 0.5
samples = 32
[record]
flow_samples = 16
"""


def call(*arguments, code=0):
    result = CliRunner().invoke(application(), [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


def test_score_prints_and_writes(tmp_path):
    out = tmp_path / "scores.safetensors"
    said = call("score", "--dataset", "gaussians", "--samples", 64, "--out", out)
    scores = load_file(out)
    assert list(scores)
    assert all(name in said for name in scores)
    assert {value.dim() for value in scores.values()} == {1}


def test_score_takes_the_step_penalty_and_the_curvature(tmp_path):
    found = {}
    for options in ((), ("--step-penalty", 2.0), ("--curvature", "empirical")):
        out = tmp_path / "scores.safetensors"
        call("score", "--dataset", "gaussians", "--samples", 64, "--measure", "qm", *options, "--out", out)
        found[options[:1]] = load_file(out)
    for name, plain in found[()].items():
        assert bool((found["--step-penalty",][name] > plain).all())
        assert not torch.equal(found["--curvature",][name], plain)


def test_score_takes_a_checkpoint(tmp_path):
    model = fp.models.build("digits_convnet", num_classes=4, seed=5)
    path, out = tmp_path / "model.safetensors", tmp_path / "scores.safetensors"
    save_file(model.state_dict(), path)
    options = ("--dataset", "gaussians", "--measure", "magnitude", "--granularity", "weights", "--out", out)
    call("score", *options, "--checkpoint", path)
    assert torch.equal(load_file(out)["classifier.weight"], model.classifier.weight.detach().abs())
    said = call("score", "--dataset", "digits", "--checkpoint", path, code=2)  # ten classes, not four
    assert "of this model" in said
    assert "classifier.weight" in said
    path.write_bytes(path.read_bytes()[:100])
    assert "cannot be read" in call("score", *options, "--checkpoint", path, code=2)


@pytest.mark.parametrize("granularity", ["channels", "weights", "blocks:4x1"])
def test_prune_writes_masks_and_the_model(tmp_path, granularity):
    out = tmp_path / "out"
    options = ("--dataset", "gaussians", "--samples", 64, "--granularity", granularity, "--out", out)
    said = call("prune", "--sparsity", 0.5, "--rounds", 2, *options)
    plan = fp.plan.read_plan(out)
    assert plan.sparsity == pytest.approx(0.5, abs=1e-4)
    assert sum(kept for kept, _ in plan.units.values()) == round(0.5 * sum(of for _, of in plan.units.values()))
    for words in ("parameters", "ms, median of", f"threads {torch.get_num_threads()}", "Verdict: ", "exact sparsity"):
        assert words in said
    scope = {}
    exec(textwrap.dedent(said.partition("In Python:\n")[2]), scope)
    assert scope["small"].state_dict().keys() == load_file(out / "model.safetensors").keys()
    again = ("--dataset", "gaussians", "--samples", 64, "--checkpoint", out / "model.safetensors")
    assert "layer" in call("score", "--measure", "magnitude", *again, "--granularity", granularity)
    twice = call("prune", "--sparsity", 0.25, "--measure", "magnitude", *again, "--out", tmp_path / "twice")
    assert "load_pruned" not in twice  # one plan, from the dense model
    scope = {}
    exec(textwrap.dedent(twice.partition("In Python:\n")[2]), scope)
    assert scope["small"].state_dict().keys() == load_file(tmp_path / "twice" / "model.safetensors").keys()
    weight = load_file(out / "model.safetensors")["features.0.0.weight"]
    if granularity == "channels":
        assert len(weight) == plan.units["features.0.0.weight"][0] < 32
    else:
        assert not weight[~plan.masks["features.0.0.weight"]].any()


def test_prune_to_a_pattern_takes_its_sparsity_and_says_what_does_not_fit(tmp_path):
    out = tmp_path / "out"
    options = ("prune", "--dataset", "gaussians", "--samples", 64, "--granularity", "nm:2:4", "--out", out)
    with pytest.warns(UserWarning, match=r"'features\.0\.0\.weight' \(1 inputs are no multiple of 4\)"):
        said = call(*options)
    assert "Verdict: zeros of 2:4 weights" in said
    plan = fp.plan.read_plan(out)
    masks = {name: mask for name, mask in plan.masks.items() if not mask.all()}
    assert all(fp.is_n_m(mask, 2, 4) for mask in masks.values())
    weights = load_file(out / "model.safetensors")
    assert all(fp.is_n_m(weights[name] != 0, 2, 4) for name in masks)
    small = fp.load(fp.models.build("digits_convnet", num_classes=4), out)
    fp.check_zeros(small)
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    small(torch.randn(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    assert all(fp.is_n_m(small.get_parameter(name) != 0, 2, 4) for name in masks)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--granularity", "filters", "--sparsity", 0.5), "Known: blocks, channels, depth, heads, nm, weights"),
        (("--granularity", "nm", "--sparsity", 0.5), "--granularity must be written as nm:n:m"),
        (("--granularity", "nm:2:4", "--sparsity", 0.75), "must be of the sparsity 0.5 that nm:2:4 has; got 0.75"),
        (("--granularity", "blocks:4x1"), "--sparsity must be given"),
        ((), "--sparsity must be given"),
    ],
)
def test_units_that_make_no_sense_are_told(given, said):
    assert said in call("prune", "--dataset", "gaussians", "--samples", 64, *given, code=2)


def test_analyse(tmp_path):
    said = call("analyse", "--dataset", "gaussians", "--samples", 32)
    assert "dN/dt" in said
    assert "magnitude / loss_preservation" in said


def test_analyse_writes_what_it_prints(tmp_path):
    out = tmp_path / "below" / "flow.json"
    said = call("analyse", "--dataset", "gaussians", "--samples", 32, "--train", 1, "--sparsity", 0.5, "--out", out)
    assert "50 % removed" in said
    flow, *agreements = json.loads(out.read_text())
    assert flow["kind"] == "flow"
    assert flow["velocity"] == pytest.approx(flow["measured_velocity"], rel=1e-3)
    assert len(agreements) == 10
    assert {row["kind"] for row in agreements} == {"agreement"}
    assert f"{flow['loss']:.6g}" in said
    untrained = call("analyse", "--dataset", "gaussians", "--samples", 32)
    assert f"{flow['loss']:.6g}" not in untrained


@pytest.mark.parametrize("granularity", ["channels", "weights", "blocks:4x4"])
def test_analyse_observations(tmp_path, granularity):
    out = tmp_path / "observations.json"
    options = ("--dataset", "gaussians", "--samples", 100, "--temperature", 2, "--granularity", granularity)
    tried = ("--seeds", 2, "--steps", 3, "--learning-rate", 0.02, "--sparsity", 0.4)
    said = call("analyse", "observations", *options, *tried, "--out", out)
    rows = json.loads(out.read_text())
    assert [row["number"] for row in rows] == [1, 2, 3, 4, 5]
    for row in rows:
        setting = [row[name] for name in ("kind", "seeds", "steps", "learning_rate", "sparsity", "samples")]
        assert setting == ["observation", 2, 3, 0.02, 0.4, 100]
        assert (row["dataset"], row["temperature"], row["granularity"]) == ("gaussians", 2, granularity)
        if row["number"] == 2 and granularity == "channels":  # all filters of this model are scale-invariant
            assert (row["n"], row["value"], row["verdict"]) == (0, None, None)
        else:
            assert row["n"] == 2
            assert f"{row['value']:.3g}" in said
            assert f"[{row['low']:.3g}, {row['high']:.3g}]" in said
        assert f"{row['number']} {row['title']}: {row['claim']}" in said
        assert row["advice"] in said


@pytest.mark.parametrize("command", [("score",), ("analyse", "flow"), ("analyse", "observations", "--seeds", 1)])
def test_samples_that_are_more_than_there_are_are_told(command):
    options = ("--dataset", "gaussians", "--granularity", "weights")
    there = len(fp.data.build("gaussians").train)
    said = f"--samples {there + 1} is more than the {there} training images: all of them are taken."
    assert said in call(*command, *options, "--samples", there + 1)
    assert "all of them are taken" not in call(*command, *options, "--samples", 16)


def test_analyse_observations_tells_that_it_draws_less_than_twice_the_samples():
    options = ("--dataset", "gaussians", "--granularity", "weights", "--seeds", 1, "--steps", 1)
    there = len(fp.data.build("gaussians").train)
    said = f"Each seed takes all {there // 2 * 2} of the {there} training images"
    assert said in call("analyse", "observations", *options, "--samples", there - 1)
    assert "Each seed takes all" not in call("analyse", "observations", *options, "--samples", there // 2)


def test_analyse_observations_takes_how_the_model_is_trained_and_scored(tmp_path):
    out = tmp_path / "observations.json"
    options = ("--dataset", "gaussians", "--samples", 64, "--seeds", 2, "--steps", 2, "--sparsity", 0.3)
    tried = ("--momentum", 0.5, "--weight-decay", 0.01, "--residual", "inner", "--scoring-temperature", "published")
    call("analyse", "observations", *options, *tried, "--out", out)
    rows = json.loads(out.read_text())
    setting = ("momentum", "weight_decay", "residual", "scoring_temperature")
    assert {tuple(row[name] for name in setting) for row in rows} == {(0.5, 0.01, "inner", "published")}
    call("analyse", "observations", *options, "--out", out)
    plain = json.loads(out.read_text())
    assert plain[0]["scoring_temperature"] is None
    assert plain[3]["detail_change_gradient_norm_increase"] != rows[3]["detail_change_gradient_norm_increase"]
    call("analyse", "observations", *options, "--scoring-temperature", 200, "--out", out)
    assert {row["scoring_temperature"] for row in json.loads(out.read_text())} == {"200"}
    call("analyse", "flow", "--dataset", "gaussians", "--samples", 32, "--residual", "masked")


def test_analyse_observations_of_one_seed_gives_no_verdict():
    options = ("--dataset", "gaussians", "--samples", 20, "--granularity", "weights")
    said = call("analyse", "observations", *options, "--seeds", 1, "--steps", 1)
    assert said.count("A verdict needs at least two seeds") == 5
    assert said.count("–") == 5


def test_analyse_observations_of_a_pruned_checkpoint(tmp_path):
    options = ("--dataset", "gaussians", "--samples", 64)
    call("prune", *options, "--sparsity", 0.5, "--granularity", "weights", "--out", tmp_path / "pruned")
    again = (*options, "--checkpoint", tmp_path / "pruned" / "model.safetensors", "--granularity", "weights")
    call("analyse", "observations", *again, "--seeds", 2, "--steps", 2, "--out", tmp_path / "rows.json")
    kept = sum(kept for kept, _ in fp.plan.read_plan(tmp_path / "pruned").units.values())
    assert {row["units"] for row in json.loads((tmp_path / "rows.json").read_text())} == {kept}


def test_run_then_report(tmp_path, spec):
    runs = tmp_path / "runs"
    said = call("run", spec, "--runs", runs, "--set", "seed=3")
    assert "magnitude" in said
    (folder,) = runs.iterdir()
    assert json.loads((folder / "spec.json").read_text())["spec"]["seed"] == 3
    assert json.loads((folder / "latency.json").read_text())["latency_ms"] > 0
    call("report", runs)
    assert "<html" in (runs / "report.html").read_text()


def test_sweep(tmp_path, spec):
    runs = tmp_path / "runs"
    axes = ("--axis", "prune.measure=dense,magnitude", "--axis", "seed=0,1")
    said = call("sweep", spec, "--runs", runs, *axes, "--jobs", 1)
    assert [fp.experiments.RunFolder(path).finished for path in runs.iterdir()] == [True] * 4
    assert "dense" in said
    again = call("sweep", spec, "--runs", runs, *axes)
    assert again.count("finished before") == 4


def test_runs_that_differ_otherwise_are_told(tmp_path, spec):
    runs = tmp_path / "runs"
    for batch in (16, 32):
        call("run", spec, "--runs", runs, "--set", f"train.batch={batch}")
    said = call("report", runs).replace("\n", " ")
    assert "train.batch=16" in said
    assert said.count("(n = 1)") == 2


def test_a_failed_run_is_told_and_the_others_go_on(tmp_path, spec):
    runs = tmp_path / "runs"
    said = call("sweep", spec, "--runs", runs, "--axis", "train.learning_rate=0.1,1e30", "--jobs", 1, code=1)
    assert "the loss is" in said
    assert "Runs differ" not in said  # one of them did not finish
    assert [fp.experiments.RunFolder(path).finished for path in runs.iterdir()].count(True) == 1


def test_the_table_tells_sparsity_apart_and_shows_dense_once(tmp_path, spec):
    from flowprune.cli.results import print_results

    runs, out = tmp_path / "runs", io.StringIO()
    call("sweep", spec, "--runs", runs, "--jobs", 1, "--axis", "prune.sparsity=0.25,0.5")
    call("run", spec, "--runs", runs, "--set", "prune.measure=dense")
    print_results(runs, Console(file=out, width=150))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert [line[:3] for line in lines if line and line[0] in ("dense", "magnitude")] == [
        ["dense", "0", "0"],
        ["magnitude", "1", "0.25"],
        ["magnitude", "1", "0.5"],
    ]


@pytest.mark.parametrize(
    ("form", "said"), [("inner", "same function"), ("masked", "zeros"), ("coupled", "same function")]
)
def test_residual_streams_are_pruned_in_the_form_asked_for(form, said, tmp_path):
    common = ("prune", "--model", "resnet20", "--sparsity", "0.3", "--measure", "magnitude", "--samples", "64")
    assert said in call(*common, "--residual", form, "--out", tmp_path / "out")


def test_a_budget_is_met_and_told(tmp_path):
    said = call("prune", "--budget", "parameters=0.5", "--measure", "magnitude", "--out", tmp_path / "out")
    line = next(line for line in said.splitlines() if line.startswith("Budget: "))
    assert line.startswith("Budget: asked 50 % of parameters, achieved ")
    left = sum(value.numel() for value in load_file(tmp_path / "out" / "model.safetensors").values())
    assert left > 0
    assert "budget" in said.partition("Checked after every cut:")[2]


def test_a_form_of_residual_streams_is_of_channels():
    common = ("prune", "--model", "resnet20", "--sparsity", "0.3", "--granularity", "weights")
    assert "--granularity channels" in call(*common, "--residual", "inner", code=2)


@pytest.mark.parametrize("recipe", ["synflow", "snip", "erk", "phew"])
def test_prune_by_a_recipe(tmp_path, recipe):
    out = tmp_path / recipe
    said = call("prune", "--recipe", recipe, "--sparsity", 0.9, "--samples", 64, "--out", out, "--batch-sizes", "1")
    assert "on no path" in said
    assert "compression 10x" in said
    assert said.startswith(f"{recipe}: sparsity 0.9")
    model = fp.load(fp.models.build("digits_convnet"), out)
    weights = [param for param in model.parameters() if param.ndim > 1]
    total = sum(param.numel() for param in weights)
    assert sum(int((param == 0).sum()) for param in weights) == round(0.9 * total)
    kept = {name: round(int((p != 0).sum()) / p.numel(), 2) for name, p in model.named_parameters() if p.ndim > 1}
    assert len(set(kept.values())) > 1  # densities differ by layer, those of erk too


def test_prune_by_a_recipe_with_ablations(tmp_path):
    options = ("--recipe", "snip", "--sparsity", 0.9, "--samples", 64, "--batch-sizes", "1")
    call("prune", *options, "--out", tmp_path / "plain")
    call("prune", *options, "--ablate", "shuffle", "--ablate", "reinitialize", "--out", tmp_path / "ablated")
    plain, ablated = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "ablated"))
    for name, weight in plain.items():
        if weight.ndim > 1:
            assert int((weight != 0).sum()) == int((ablated[name] != 0).sum())
            assert not torch.equal(weight != 0, ablated[name] != 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--recipe", "snipe"), "synflow"),
        (("--recipe", "snip", "--temperature", 5), "left out with --recipe"),
        (("--recipe", "sbp_sr"), "a Stable ResNet"),
        (("--recipe", "snip", "--ablate", "mix"), "--ablate"),
        (("--recipe", "magnitude", "--sparsity", 0.9999), "largest safe sparsity of these scores is"),
        (("--recipe", "force", "--granularity", "channels"), "one whose cuts stay with channels"),
    ],
)
def test_recipes_that_make_no_sense_are_told(tmp_path, options, said):
    output = call("prune", "--sparsity", 0.9, "--samples", 64, "--out", tmp_path / "pruned", *options, code=2)
    assert said in " ".join(output.split())


def test_prune_compensates(tmp_path):
    how = ("prune", "--dataset", "gaussians", "--samples", 64, "--sparsity", 0.5, "--measure", "magnitude")
    said = call(*how, "--granularity", "weights", "--compensate", "--out", tmp_path / "a")
    assert "Compensated: mean output error of" in said
    call(*how, "--granularity", "weights", "--out", tmp_path / "b")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_prune_in_adaptive_stages(tmp_path):
    how = ("prune", "--dataset", "gaussians", "--samples", 64, "--sparsity", 0.8, "--granularity", "weights")
    asked = ("--measure", "lm", "--schedule", "adaptive", "--rounds", 9, "--batch-sizes", "1")
    close = [
        each for field in ("full=True", "tolerance=0.02", "negligible=1e-5") for each in ("--schedule-option", field)
    ]
    said = call(*how, *asked, *close, "--out", tmp_path / "pruned")
    told = re.search(r"Cut in (\d+) stages, (\d+) of which changed the loss as predicted", said)
    stages, within = map(int, told.groups())
    assert 1 < stages <= 9
    assert 0 <= within <= stages
    assert fp.plan.read_plan(tmp_path / "pruned").sparsity == pytest.approx(0.8, abs=1e-3)
