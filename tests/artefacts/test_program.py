"""Programs: what is loaded in another process gives what the model gave."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.artefacts.manifest import Input, Output
from flowprune.core.errors import PruningError
from tests.artefacts.networks import RECORDS, Branch, FixedBatch, Records, convolutional, drawn


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    model, x = convolutional(), drawn(4, 2, 5, 5)
    artefact = fp.export_program(model, x, tmp_path_factory.mktemp("program") / "model.pt2", dynamic_batch=True)
    return model, artefact


def test_a_fresh_process_gives_what_the_model_gives(made, tmp_path):
    model, artefact = made
    x = drawn(7, 2, 5, 5, seed=3)
    torch.save(x, tmp_path / "x.pt")
    script = (
        "import sys, torch\n"
        "program = torch.export.load(sys.argv[1]).module()\n"
        "torch.save(program(torch.load(sys.argv[2])), sys.argv[3])"
    )
    paths = [str(each) for each in (artefact.path, tmp_path / "x.pt", tmp_path / "y.pt")]
    subprocess.run([sys.executable, "-c", script, *paths], check=True, capture_output=True)
    torch.testing.assert_close(torch.load(tmp_path / "y.pt"), model.eval()(x).detach())
    model.train()


def test_the_json_says_what_it_is(made):
    _, artefact = made
    fields = json.loads((artefact.path.parent / "model.pt2.json").read_text())
    assert fields["kind"] == "program"
    assert fields["files"].keys() == {"model.pt2"}
    assert fields["inputs"][0]["shape"] == [4, 2, 5, 5]
    assert fields["outputs"][0]["shape"] == [4, 3]
    assert fields["versions"]["torch"] == torch.__version__
    assert artefact.bytes == artefact.path.stat().st_size
    assert artefact.difference < 1e-6
    assert sorted(path.name for path in artefact.path.parent.iterdir()) == ["model.pt2", "model.pt2.json"]


def test_verification_names_its_checks(made):
    assert fp.verify_program(made[1].path) == ("whole", "hash", "loads", "runs", "finite", "same numbers")


def copied(artefact, tmp_path, change=None):
    """The artefact in a folder of its own, its JSON changed."""
    path = tmp_path / artefact.path.name
    path.write_bytes(artefact.path.read_bytes())
    fields = json.loads(artefact.path.with_name("model.pt2.json").read_text())
    if change is not None:
        change(fields)
    path.with_name("model.pt2.json").write_text(json.dumps(fields))
    return path


def rename(fields):
    fields["files"] = {"other.pt2": fields["files"]["model.pt2"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda fields: fields.update(format=99), "reads format 1"),
        (lambda fields: fields.pop("inputs"), "is damaged"),
        (lambda fields: fields["inputs"][0].update(dtype="floatyy"), r"is damaged \(ValueError\(\"dtype 'floatyy'"),
        (lambda fields: fields["outputs"][0].update(dtype="ones"), "is damaged"),
        (lambda fields: fields["inputs"][0].update(shape="abc"), "is damaged"),
        (lambda fields: fields["inputs"][0].update(low="least"), "is damaged"),
        (lambda fields: fields.update(kind="onnx"), "of another artefact"),
        (rename, "of another artefact"),
        (lambda fields: fields["files"].update({"more.data": "0"}), "more.data is missing"),
        (lambda fields: fields["inputs"][0].update(shape=[4, 3, 5, 5]), "run on inputs of its stored shapes"),
        (lambda fields: fields["outputs"][0].update(shape=[4, 9]), r"output 0 of float32 \(4, 3\)"),
        (lambda fields: fields["outputs"][0].update(rms=123.0), "not 123"),
        (lambda fields: fields["outputs"].append(fields["outputs"][0]), "1 outputs, not 2"),
    ],
)
def test_what_is_wrong_is_told(made, tmp_path, change, said):
    with pytest.raises(PruningError, match=said):
        fp.verify_program(copied(made[1], tmp_path, change))


def test_damage_is_found_before_anything_is_loaded(made, tmp_path, monkeypatch):
    path = copied(made[1], tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr(torch.export, "load", None)
    with pytest.raises(PruningError, match="does not match its checksum"):
        fp.verify_program(path)
    path.with_name("model.pt2.json").unlink()
    with pytest.raises(PruningError, match=r"needs model\.pt2\.json beside"):
        fp.verify_program(path)


def test_numbers_that_are_not_finite_are_found(tmp_path):
    class Log(nn.Module):
        def forward(self, x):
            return x.log()

    artefact = fp.export_program(Log(), torch.ones(2, 3), tmp_path / "model.pt2")
    negative = copied(artefact, tmp_path, lambda fields: fields["inputs"][0].update(low=-2.0, high=-1.0))
    with pytest.raises(PruningError, match="6 not finite"):
        fp.verify_program(negative)


def test_named_inputs_in_any_order_and_records_of_outputs(tmp_path):
    """What is no tensor is left out, so the file loads where the record's class is unknown."""
    model = Records()
    artefact = fp.export_program(model, RECORDS, tmp_path / "model.pt2", dynamic_batch=True)
    assert [each.shape for each in artefact.outputs] == [(3, 5, 2), (3, 5, 4)]
    given = torch.export.load(artefact.path).module()(**RECORDS)
    assert given.keys() == {"pair", "hidden"}
    assert [type(each) for each in given.values()] == [tuple, tuple]
    torch.testing.assert_close(given["pair"][0], model(**RECORDS)["pair"].logits)
    assert fp.verify_program(artefact.path)[-1] == "same numbers"


@pytest.mark.parametrize(
    ("model", "x", "options", "said"),
    [
        (Branch(), drawn(2, 3), {}, r"must be a model that torch\.export captures.*if x\.sum\(\) > 0"),
        (FixedBatch(), drawn(2, 3), {"dynamic_batch": True}, "dynamic_batch=False"),
    ],
)
def test_a_model_that_cannot_be_exported_is_told_in_one_line(tmp_path, model, x, options, said):
    with pytest.raises(PruningError, match=said) as told:
        fp.export_program(model, x, tmp_path / "model.pt2", **options)
    assert len(str(told.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_differs_is_not_written(tmp_path, monkeypatch):
    """The file that stood there before stays."""
    (tmp_path / "model.pt2").write_text("before")
    model = nn.Linear(3, 2)
    real = torch.export.export

    def wrong(module, *args, **kwargs):
        program = real(module, *args, **kwargs)
        with torch.no_grad():
            program.state_dict["bias"].add_(0.01)
        return program

    monkeypatch.setattr(torch.export, "export", wrong)
    with pytest.raises(PruningError, match=r"output 0 is .* of its largest value off; 0.0001 is allowed"):
        fp.export_program(model, drawn(2, 3), tmp_path / "model.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
    assert (tmp_path / "model.pt2").read_text() == "before"


def test_the_model_is_left_as_found(tmp_path):
    model, seen = convolutional(), []
    model.register_forward_hook(lambda *_: seen.append(1))
    model[1].eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes, random = [module.training for module in model.modules()], torch.get_rng_state()
    fp.export_program(model, drawn(2, 2, 5, 5), tmp_path / "model.pt2")
    assert seen == []
    assert "forward" not in vars(model)
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(random, torch.get_rng_state())
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize(
    ("path", "said"), [("model.onnx", r"ending in \.pt2"), ("none/model.pt2", "in a folder that is there")]
)
def test_a_path_that_cannot_be_is_told(tmp_path, path, said):
    with pytest.raises(ValueError, match=said):
        fp.export_program(nn.Linear(1, 1), drawn(1, 1), tmp_path / path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.int32, torch.bool, torch.bfloat16])
def test_inputs_to_try_with_are_in_range_and_the_same_every_time(dtype):
    example = torch.tensor([[3, 7, 5, 3]]).to(dtype)
    known = Input.of(example)
    first, second = known.drawn(1), known.drawn(1)
    assert torch.equal(first, second)
    assert (first.shape, first.dtype) == (example.shape, dtype)
    assert example.min() <= first.min()
    assert first.max() <= example.max()


def test_an_output_that_is_infinite_on_purpose_has_no_size():
    assert Output.of(torch.tensor([1.0, float("-inf")])).rms is None
    assert Output.of(torch.tensor([3.0, 4.0])).rms == pytest.approx(12.5**0.5)
    assert Output.of(torch.tensor([3])).rms is None
