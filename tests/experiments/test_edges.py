"""What is refused before anything is computed or written, and what damage does not stop."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core.granularities import build_granularity
from flowprune.experiments import axes, demo, store, telling
from flowprune.experiments.folder import open_folder
from flowprune.experiments.job import run
from flowprune.experiments.latency import measure
from flowprune.experiments.machine import require_machine, require_writable
from flowprune.experiments.parts import build, model_for
from flowprune.experiments.pruned import load_pruned
from flowprune.experiments.spec import override, parse
from flowprune.experiments.sweeping import sweep
from flowprune.masks import masks_of

TINY = parse(
    {
        "model": {"name": "mlp", "options": {"widths": [6]}},
        "data": {"name": "gaussians", "options": {"samples": 120}},
        "train": {"epochs": "2ep"},
        "prune": {"measure": "magnitude", "sparsity": 0.5, "samples": 16},
        "record": {"flow": "none"},
    }
)


def quiet(event):
    pass


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threads": 4000}, "cores this process may use"),
        ({"device": "cuda:99"}, "Use device = 'cpu'"),
        ({"data.options.test": 0}, "at least one example"),
        ({"data.options.samples": 4, "data.options.num_classes": 2}, "at least one example"),
        ({"data": {"name": "digits", "options": {"valid": 0}}}, "every split has at least one example"),
        ({"model": {"name": "vgg13"}}, r"images of shape \(1, 8, 8\)"),
        ({"model.options.num_classes": 2}, r"\(2, 4\).*got \(2, 2\)"),
        ({"model.options.depth": 3}, "its own arguments"),
        ({"model.options.name": "mlp"}, "without name and shape"),
        ({"train.milestones": {"1ep": 0.01, "2it": 0.02}}, "increasing order"),
    ],
)
def test_what_cannot_run_leaves_no_folder(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        run(override(TINY, changes), tmp_path / "runs", listen=quiet)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prune.sparsity": 0.97, "prune.start": "1ep", "train.epochs": "3ep"}, r"^Spec\(prune\.sparsity\) must leave"),
        ({"prune.sparsity": 0.9, "prune.floor": 0.5}, r"^Spec\(prune\.sparsity\) must leave"),
        ({"prune.protect": ["layers.*"]}, r"^Spec\(prune\.sparsity\) must leave.*at most 0 can be"),
        ({"prune.protect": ["stem.*"]}, r"^Spec\(prune\.protect\) has no 'stem\.\*'.*Known: layers\.0\.weight"),
        ({"prune.rounds": 4, "train.epochs": "9ep"}, r"^Spec\(prune\.rounds\) must be one of at most 3 rounds"),
        ({"prune.floor": 0.5, "reference_compat": True}, r"^Spec\(prune\.floor\) must be 'auto' or 0\.05"),
        ({"prune.balanced": True, "prune.samples": 400}, r"^Spec\(prune\.samples\).*prune\.short=take"),
        (
            {"prune.balanced": True, "prune.samples": 400, "prune.start": "1ep", "train.epochs": "3ep"},
            r"at most \d+ for each of the 4 classes where prune\.balanced is true, as class \d of 'gaussians'.*got 100",
        ),
    ],
)
def test_what_could_not_be_cut_in_the_end_is_refused_before_training(tmp_path, changes, said):
    with pytest.raises((ValueError, fp.PruningError), match=said):
        run(override(TINY, changes), tmp_path / "runs", listen=quiet)
    assert not (tmp_path / "runs").exists()


def test_a_short_class_is_taken_whole_where_that_is_asked_for():
    changes = {"prune.balanced": True, "prune.samples": 400, "prune.short": "take"}
    with pytest.warns(UserWarning, match="takes all there is"):
        assert len(build(override(TINY, changes)).scoring(1).labels) < 400


def test_samples_that_are_more_than_there_are_are_told_in_one_line_each(tmp_path):
    told = []
    changes = {"train.epochs": "2ep", "prune.samples": 500, "record.flow": 2, "record.flow_samples": 600}
    run(override(TINY, changes), tmp_path, listen=told.append)
    notes = [event.text for event in told if event.kind == "note"]
    there = len(build(TINY).dataset.train)
    assert notes == [
        f"prune.samples = 500 is more than the {there} training images: all of them are taken.",
        f"record.flow_samples = 600 is more than the {there} training images: all of them are taken.",
    ]
    told.clear()
    run(
        override(TINY, {"seed": 1, "record.flow_samples": 600, "record.track.samples": 700}),
        tmp_path,
        listen=told.append,
    )
    assert [event.text for event in told if event.kind == "note"] == []  # neither is looked at in this run


def test_a_sweep_refuses_before_it_starts(tmp_path):
    with pytest.raises(ValueError, match="cores"):
        sweep([TINY, override(TINY, {"threads": 4000})], tmp_path / "runs", target="tests.experiments.pretend:none")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="That is a file"):
        sweep([TINY], tmp_path / "file")
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path, folder in ((tmp_path, False), (tmp_path / "file", True), (tmp_path / "file" / "below", True)):
        with pytest.raises(ValueError, match="must be a"):
            require_writable("--out", path, folder=folder)
    require_writable("--out", tmp_path / "new" / "folder", folder=True)
    require_writable("--out", tmp_path / "file", folder=False)
    require_machine(TINY)


def test_milestones_may_be_written_in_any_order():
    rate = build(override(TINY, {"train.milestones": {"2ep": 0.001, "1ep": 0.01}})).rate
    assert [rate(step * 2, 2) for step in range(3)] == [0.1, 0.01, 0.001]


def test_a_field_is_set_once_and_a_list_is_one_value():
    with pytest.raises(ValueError, match="given once for each field; got 'seed'"):
        axes.distinct("--set", [("seed", 1), ("name", "a"), ("seed", 2)])
    assert axes.parse_axis("prune.every=1ep,2ep") == ("prune.every", ["1ep", "2ep"])
    assert axes.parse_axis('record.agreement=["magnitude","fisher"]')[1] == [["magnitude", "fisher"]]


def test_settings_name_what_no_column_tells():
    weights = override(TINY, {"prune.granularity": "weights"})
    dense = override(TINY, {"prune.measure": "dense"})
    wide = override(TINY, {"model.options": {}, "seed": 3, "prune.sparsity": 0.25})
    kept = override(TINY, {"prune.floor": 0.1})
    found = telling.settings([TINY, weights, dense, wide, kept])
    widths = {"model.options.widths": [6]}
    assert found == [
        {**widths, "prune.floor": "auto"},
        widths,
        widths,
        {"model.options.widths": None},
        {**widths, "prune.floor": 0.1},
    ]
    assert telling.settings([TINY, override(TINY, {"name": "other"})]) == [{"name": "run"}, {"name": "other"}]
    assert telling.settings([TINY, override(TINY, {"name": "other", "train.batch": 8})])[1] == {"train.batch": 8}


def test_runs_that_differ_in_how_they_are_computed_are_of_one_cell_unless_one_question_is_answered_twice():
    elsewhere = override(TINY, {"execution.precision": "bfloat16", "device": "cuda", "threads": 2, "seed": 1})
    assert telling.settings([TINY, elsewhere]) == [{}, {}]
    again = override(elsewhere, {"seed": TINY.seed})
    told = telling.settings([TINY, elsewhere, again])
    assert [each["execution.precision"] for each in told] == ["float32", "bfloat16", "bfloat16"]
    assert [each["device"] for each in told] == ["cpu", "cuda", "cuda"]


def test_a_scoring_temperature_is_told_where_a_measure_has_several_or_another_than_the_published_one():
    grasp = override(TINY, {"prune.measure": "gradient_norm_increase", "prune.temperature": "published"})
    own, one = override(grasp, {"prune.temperature": None}), override(grasp, {"prune.temperature": 1.0})
    loss = override(TINY, {"prune.measure": "loss_preservation", "prune.temperature": "published"})
    told = telling.settings([grasp, own, one, loss, override(loss, {"prune.temperature": None})])
    assert [each.get("prune.temperature") for each in told] == [200.0, "of training", 1.0, None, None]
    assert telling.settings([grasp, loss]) == [{}, {}]
    assert telling.settings([override(grasp, {"seed": 1}), one])[1] == {"prune.temperature": 1.0}


def test_a_damaged_spec_does_not_block_the_demo(tmp_path):
    own = open_folder(demo.specs()[4], tmp_path, print)
    (own.path / "spec.json").write_text("{")
    demo.require_own(tmp_path)
    stranger = open_folder(TINY, tmp_path, print)
    (stranger.path / "spec.json").write_text("{")
    with pytest.raises(ValueError, match=stranger.path.name):
        demo.require_own(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(TINY, tmp_path_factory.mktemp("runs"), listen=quiet)


@pytest.mark.parametrize("content", ["{", "{}", '{"latency_ms": "fast"}', "[1]"])
def test_a_damaged_latency_is_measured_again(finished, content):
    path = finished.path / "latency.json"
    path.write_text(content)
    (row,) = store.read(finished.path, "result")
    assert "latency_ms" not in row
    measure([finished], repeats=2)
    assert json.loads(path.read_text())["latency_ms"] > 0
    (row,) = store.read(finished.path, "result")
    assert row["latency_ms"] > 0


def test_rows_say_what_runs_differ_in(finished):
    assert all("setting" not in row for row in store.read(finished.path))
    run(override(TINY, {"train.batch": 30}), finished.path.parent, listen=quiet)
    found = {row["setting"] for row in store.read(finished.path.parent)}
    assert {json.loads(text)["train.batch"] for text in found} == {30, 64}


@pytest.mark.parametrize("granularity", ["channels", "weights", "blocks:4x4", "nm:2:4"])
@pytest.mark.filterwarnings("ignore:NM")
def test_a_pruned_model_is_rebuilt_from_its_files(tmp_path, granularity):
    from safetensors.torch import save_file

    data = fp.data.build("gaussians", samples=120)
    dense = model_for("digits_convnet", data, seed=0)
    x = data.inputs("train")[:4]
    unit = build_granularity("here", granularity, {"example_inputs": x})
    result = fp.prune(dense, measure="magnitude", sparsity=0.5, granularity=unit, floor=0.1)
    result.masks.save(tmp_path / "masks.safetensors")
    save_file(result.model.state_dict(), tmp_path / "model.safetensors")
    other = model_for("digits_convnet", data, seed=1)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    for path in (tmp_path, tmp_path / "model.safetensors"):
        small = fp.experiments.load_pruned(other, path)
        assert torch.equal(small.eval()(x), result.model.eval()(x))
        assert set(masks_of(small)) == (set() if unit.removes else set(result.masks))
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize("granularity", ["channels", "weights"])
def test_other_weights_beside_a_plan_are_read_by_it(tmp_path, granularity):
    """Weights that were trained on and saved by hand, and those of the dense model."""
    from safetensors.torch import save_file

    data = fp.data.build("gaussians", samples=120)
    dense, x = model_for("digits_convnet", data, seed=0), data.inputs("train")[:4]
    unit = fp.Channels(example_inputs=x) if granularity == "channels" else fp.Weights()
    result = fp.prune(dense, measure="magnitude", sparsity=0.5, granularity=unit)
    fp.save(result, tmp_path)
    with torch.no_grad():
        for param in result.model.parameters():
            param.mul_(2)
    save_file(result.model.state_dict(), tmp_path / "tuned.safetensors")
    small = load_pruned(model_for("digits_convnet", data, seed=1), tmp_path / "tuned.safetensors")
    assert torch.equal(small.eval()(x), result.model.eval()(x))
    fp.check_zeros(small)
    if granularity == "channels":
        save_file(dense.state_dict(), tmp_path / "dense.safetensors")
        assert torch.equal(load_pruned(dense, tmp_path / "dense.safetensors").eval()(x), dense.eval()(x))


def test_files_of_another_model_are_told_in_one_line(tmp_path, finished):
    with pytest.raises(ValueError, match="of the architecture that the plan was made for"):
        load_pruned(nn.Linear(3, 2), finished.path)
    other = finished.path / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes((finished.path / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"in the file and .* more such differences\.") as refused:
        load_pruned(model_for("mlp", fp.data.build("gaussians"), seed=0, widths=(5,)), other)
    assert "\n" not in str(refused.value)
