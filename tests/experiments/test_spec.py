from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from flowprune.core.errors import UnknownNameError
from flowprune.experiments import demo
from flowprune.experiments.axes import expand, parse_axis
from flowprune.experiments.folder import open_folder
from flowprune.experiments.presets import PRESETS
from flowprune.experiments.spec import LATER, Spec, override, parse, read

BASE = {"model": {"name": "mlp"}, "data": {"name": "gaussians"}, "prune": {"measure": "magnitude"}}


def leaves(fields, path=()):
    for key, value in fields.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


OTHERS = {
    "channels": "weights",
    "global": "local",
    "reset": "slice",
    "auto": "none",
    "cpu": "cuda",
    "mlp": "vgg13",
    "gaussians": "digits",
    "magnitude": "fisher",
    "rounds": "linear",
    "coupled": "masked",
    "float32": "bfloat16",
    "contiguous": "channels_last",
    "gradient_norm": "loss",
    "refuse": "take",
    "none": "mean",
}


def other(value):
    """A value that the same field accepts, and that differs."""
    if isinstance(value, bool | int | float):
        return not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * 0.5 + 0.01
    if isinstance(value, str):
        return "9ep" if value.endswith("ep") else OTHERS.get(value, "other")
    if isinstance(value, list) and value:
        return value[:1]
    return {"dict": {"3ep": 0.5}, "NoneType": 2.0}[type(value).__name__]


OTHERWISE = {
    "prune.when": "stable_structure",
    "prune.when_options": {"looks": 2},
    "prune.schedule_options": {"tolerance": 0.2},
    "prune.latest": 3,
    "prune.protect": ["stem.*"],
    "record.agreement": ["magnitude"],
    "record.scatter.epochs": [3],
    "execution.compiled": "default",
    "record.flow_training": 3,
    "record.track.every": 3,
    "prune.at": "init",
    "prune.recipe": "synflow",
    "prune.iterations": 3,
    "prune.ablations": ["shuffle"],
    "prune.score_on": "fresh_draw",
    "prune.rescale": "layer",
    "prune.curvature": "empirical",
}
ADAPTIVE = {"prune.at": "trained", "prune.granularity": "weights", "prune.schedule": "adaptive", "prune.rounds": 9}
BEFORE_TRAINING = ("prune.at", "prune.recipe", "prune.iterations", "prune.ablations", "prune.score_on", "prune.rescale")


def test_every_field_is_part_of_the_run_id():
    spec = parse(BASE)
    seen = {spec.run_id}
    fields = list(leaves(spec.model_dump(mode="json")))
    for path, value in fields:
        before = {"prune.at": "init", "prune.granularity": "weights"} if path in BEFORE_TRAINING else {}
        before |= {"prune.measure": "obd"} if path == "prune.curvature" else {}
        before |= ADAPTIVE if path == "prune.schedule_options" else {}
        changed = override(spec, {**before, path: OTHERWISE[path] if path in OTHERWISE else other(value)})
        assert changed != spec, path
        seen.add(changed.run_id)
    assert len(seen) == len(fields) + 1
    assert len(fields) > 30


def test_the_run_id_depends_on_the_spec_version(monkeypatch):
    before = parse(BASE).run_id
    monkeypatch.setattr("flowprune.experiments.spec.SPEC_VERSION", 1000)
    assert parse(BASE).run_id != before


@pytest.mark.parametrize(
    ("change", "version"),
    [
        ({}, 2),
        ({"prune.measure": "dense"}, 2),
        ({"prune.residual": "inner"}, 2),
        ({"prune.residual": "masked"}, 3),
        ({"prune.granularity": "weights"}, 3),
    ],
)
def test_runs_of_masked_networks_alone_have_a_new_version(change, version):
    """Their signals counted weights that are held at zero; what was removed physically is as it was."""
    spec = override(parse(BASE), change)
    assert spec.version == version
    plain = spec.model_dump(mode="json")
    for part in ("train", "prune"):
        if plain[part] is not None:
            plain[part] = {name: v for name, v in plain[part].items() if f"{part}.{name}" not in LATER}
    text = json.dumps({"version": version, **plain}, sort_keys=True)
    assert spec.run_id == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_the_stored_runs_are_still_known_by_their_specs():
    archives = sorted((Path(__file__).parents[2] / "results").glob("*/runs.jsonl"))
    lines = [json.loads(line) for path in archives for line in path.read_text().splitlines()]
    assert len(lines) > 50
    assert {line["run"]: parse(line["spec"]).run_id for line in lines} == {line["run"]: line["run"] for line in lines}


def test_the_run_id_is_the_same_however_the_spec_is_written():
    written = {**BASE, "seed": 0, "prune": {"measure": "magnitude", "rounds": 1}}
    assert parse(written).run_id == parse(BASE).run_id


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"prune.sparsity": 1.0}, "prune.sparsity"),
        ({"prune.sparsity": -0.1}, "prune.sparsity"),
        ({"prune.round": 3}, "Did you mean 'rounds'"),
        ({"trian.epochs": "3ep"}, "trian"),
        ({"train.epochs": "many"}, "train.epochs"),
        ({"train.epochs": "100it"}, "train.epochs"),
        ({"record.flow": "false"}, "record.flow"),
        ({"record.flow": True}, "record.flow"),
        (
            {"prune.granularity": "filters"},
            r"prune\.granularity.*has no 'filters'\..*Known: blocks, channels, depth, heads, nm",
        ),
        ({"prune.granularity": "nm:2"}, r"Spec\(prune\.granularity\) must be written as nm:n:m; got 'nm:2'"),
        ({"prune.granularity": "nm"}, r"Spec\(prune\.granularity\) must be written as nm:n:m; got 'nm'"),
        ({"prune.granularity": "nm:1:2", "prune.sparsity": 0.75}, r"prune\.sparsity\) must be 0\.5.* of nm:1:2; got"),
        ({"prune.granularity": "blocks:0x4"}, r"Blocks\(rows=\) must be a whole number"),
        ({"prune.granularity": "blocks:4x1", "prune.residual": "inner"}, "'channels' with settings of channels"),
        ({"train.learning_rate": float("nan")}, "train.learning_rate"),
        ({"seed": True}, "seed"),
        ({"seed": "0"}, "seed"),
    ],
)
def test_a_wrong_field_is_named(changes, named):
    with pytest.raises(ValueError, match=named):
        override(parse(BASE), changes)


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match=r"Spec\(model\) must be given"):
        parse({"data": {"name": "digits"}})


def test_a_spec_is_frozen():
    with pytest.raises(ValidationError):
        parse(BASE).seed = 3  # pyright: ignore


def test_read_toml(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text('name = "x"\nseed = 3\n[model]\nname = "mlp"\n[data]\nname = "digits"\n[train]\nepochs = "2ep"\n')
    spec = read(path)
    assert (spec.seed, spec.epochs, spec.prune) == (3, 2, None)
    assert spec.columns["measure"] == "dense"
    path.write_text("name = ")
    with pytest.raises(ValueError, match="must be TOML"):
        read(path)


def test_presets_are_specs_and_unknown_ones_are_told():
    assert all(isinstance(spec, Spec) for spec in PRESETS.values())
    with pytest.raises(
        UnknownNameError, match=r"demo, depth, init_small, laurent2020-mlp, .*, lubana2021, lubana2021_small, smoke"
    ):
        PRESETS["dem"]


def test_axes_make_the_product_and_dense_appears_once():
    specs = expand(parse(BASE), {"prune.measure": ["dense", "magnitude"], "prune.rounds": [1, 5], "seed": [0, 1]})
    told = [(s.columns["measure"], s.columns["rounds"], s.seed) for s in specs]
    assert sorted(told) == [
        ("dense", 0, 0), ("dense", 0, 1),
        ("magnitude", 1, 0), ("magnitude", 1, 1), ("magnitude", 5, 0), ("magnitude", 5, 1),
    ]  # fmt: skip


MEASURES = (
    "magnitude",
    "loss_preservation",
    "biased_loss",
    "gradient_norm_increase",
    "gradient_norm_preservation",
)


def test_the_demo_is_the_papers_table(tmp_path):
    runs = demo.specs()
    told = [(spec.columns["measure"], spec.columns["rounds"]) for spec in runs]
    assert len(runs) == 33
    assert set(told) == {("dense", 0), *((measure, rounds) for measure in MEASURES for rounds in (1, 5))}
    assert {spec.prune.sparsity for spec in runs if spec.prune} == {0.75}
    assert all(spec.seed in (0, 1, 2) and spec.threads == 1 for spec in runs)
    assert told[:3] == [("dense", 0)] * 3  # the longest runs first


def test_the_demo_does_not_mix_in_other_runs(tmp_path):
    demo.require_own(tmp_path)
    open_folder(demo.specs()[-1], tmp_path, print)
    demo.require_own(tmp_path)
    stranger = open_folder(parse(BASE), tmp_path, print)
    with pytest.raises(ValueError, match=stranger.path.name):
        demo.require_own(tmp_path)


def test_an_unknown_axis_is_an_error():
    with pytest.raises(ValueError, match=r"has no 'mesure'"):
        expand(parse(BASE), {"prune.mesure": ["magnitude"]})


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"model.name": "vgg_13"}, "Did you mean 'vgg13'"),
        ({"data.name": "digit"}, "Did you mean 'digits'"),
        ({"prune.measure": "magnitud"}, "Did you mean 'magnitude'"),
        ({"prune.schedule": "square"}, "Known: adaptive, cubic, exponential"),
        ({"record.agreement": ["magnitude", "snip"]}, "Known: biased_loss"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(changes, known):
    with pytest.raises(UnknownNameError, match=known):
        override(parse(BASE), changes)


def test_the_cuts_must_leave_an_epoch():
    with pytest.raises(ValueError, match="more than the 20 epochs that the cuts take"):
        override(parse(BASE), {"prune.rounds": 20})


@pytest.mark.parametrize("text", ["seed", "=1", "seed=", ""])
def test_an_axis_of_another_form_is_an_error(text):
    with pytest.raises(ValueError, match="path=value,value"):
        parse_axis(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prune.mesure": "magnitude", "prune.bogus": 7}, r"Spec\(prune\) has no 'bogus'"),
        ({"prune.mesure": "magnitude"}, "Did you mean 'measure'"),
        ({"prune.sparsity": 0.9}, r"Spec\(prune.measure\) must be given"),
        ({"prune.measure": "dense", "prune.bogus": 7}, r"has no 'bogus'"),
        ({"trian.epochs": "2ep"}, "Spec has no 'trian'. Did you mean 'train'"),
    ],
)
def test_a_pruning_that_was_asked_for_is_never_dropped(changes, said):
    dense = parse({key: BASE[key] for key in ("model", "data")})
    with pytest.raises(ValueError, match=said):
        override(dense, changes)
    assert override(dense, {"prune.measure": "dense", "prune.rounds": 5}) == dense


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"device": "bogus"}, "'cuda:0'"),
        ({"seed": 2**63}, "less than"),
        ({"threads": 0}, "greater than or equal to 1"),
        ({"train.epochs": "0ep"}, "at least one"),
        ({"train.milestones": {"soon": 0.1}}, "'80ep'"),
        ({"prune.schedule": "one_shot", "prune.rounds": 2}, "one_shot"),
        ({"prune.floor": "bogus"}, "valid number, or 'auto' or 'none'"),
        ({"model.options": {"widths": None}}, "model.options.widths"),
    ],
)
def test_values_are_refused_in_one_line_in_the_house_form(changes, said):
    with pytest.raises(ValueError, match=said) as refused:
        override(parse(BASE), changes)
    assert " must be " in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_text_or_a_folder_is_named(tmp_path):
    path = tmp_path / "latin.toml"
    path.write_bytes('name = "é"'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.toml must be TOML, in UTF-8"):
        read(path)
    with pytest.raises(ValueError, match="Name the file inside"):
        read(tmp_path)


def test_nothing_inside_a_spec_can_be_changed_and_it_hashes():
    spec = parse({**BASE, "train": {"milestones": {"3ep": 0.01}}, "model": {"name": "mlp", "options": {"widths": [3]}}})
    for mapping in (spec.train.milestones, spec.model.options):
        with pytest.raises(TypeError):
            mapping["more"] = 1
    again = pickle.loads(pickle.dumps(spec))
    assert (again, hash(again)) == (spec, hash(spec))
    assert again.run_id == spec.run_id
    assert spec.model_dump(mode="json")["train"]["milestones"] == {"3ep": 0.01}


def test_moments_after_the_end_of_training_are_refused():
    fields = {"model": {"name": "mlp"}, "data": {"name": "digits"}, "train": {"epochs": "30ep"}}
    parse({**fields, "record": {"scatter": {"epochs": [0, 30]}}})
    with pytest.raises(ValueError, match=r"record\.scatter\.epochs\) must be at most the 30 epochs .*; got \[0, 99\]"):
        parse({**fields, "record": {"scatter": {"epochs": [0, 99]}}})
