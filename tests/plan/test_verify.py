"""What ``verify`` finds of a saved plan, on the command line too."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

import flowprune as fp
from flowprune.cli.main import application
from flowprune.core.files import checksum
from tests.plan.test_refusals import rewrite
from tests.structure.comparing import images, randomised
from tests.structure.removable import Plain, Separable


def call(*arguments, code=0):
    result = CliRunner().invoke(application(), ["verify", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


@pytest.fixture
def folder(tmp_path):
    """Channels cut, and weights masked on top."""
    small = fp.remove(randomised(Plain), {"0.weight": torch.arange(6) < 4}, example_inputs=images())
    masks = fp.select({"8.weight": small[8].weight.detach().abs()}, sparsity=0.5)
    return fp.save(fp.apply(small, masks), tmp_path / "plan", measure="magnitude")


def edit(folder, change):
    """The weights changed, with checksums to match."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    rewrite(folder, lambda fields: fields["files"].update({path.name: checksum(path)}))


def test_what_is_sound(folder):
    found = fp.plan.verify(folder, Plain)
    assert found.checks[-3:] == ("masked weights are zero", "loads", "attributes")
    model = fp.load(Plain, folder)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.nonzeros == sum(int(p.count_nonzero()) for p in model.parameters())
    said = call(folder, "--model", "tests.structure.removable:Plain")
    for words in ("parameters 664 -> 460", "remove, mask by magnitude", "model.safetensors", "attributes", "Verified"):
        assert words in said
    for name in ("plan.json", "plan.safetensors", "model.safetensors"):
        assert re.search(r"Not loaded: --model", call(folder / name))


def test_a_weight_that_is_not_finite(folder):
    edit(folder, lambda tensors: tensors["3.weight"].view(-1)[0].fill_(float("nan")))
    assert "1 of 288 entries of '3.weight' NaN or infinite" in call(folder, code=2)


def test_a_buffer_that_is_nan(folder):
    edit(folder, lambda tensors: tensors["1.running_var"][0].fill_(float("inf")))
    call(folder)
    edit(folder, lambda tensors: tensors["1.running_var"][0].fill_(float("nan")))
    assert "'1.running_var' holds NaN" in call(folder, code=2)


def test_a_masked_weight_that_moved(folder):
    edit(folder, lambda tensors: tensors["8.weight"].add_(1.0))
    assert "16 of '8.weight' are not" in call(folder, code=2)


def test_shapes_of_another_model(folder):
    edit(folder, lambda tensors: tensors.update({"3.weight": torch.zeros(8, 5, 3, 3)}))
    assert "3.weight is (8, 5, 3, 3), by the plan (8, 4, 3, 3)" in call(folder, code=2)


def test_an_attribute_that_does_not_follow(tmp_path):
    """Two settings that are wrong in the dense model, and that no cut has to change."""

    def wrong():
        model = Plain()
        model[8].in_features = 9
        return model

    folder = fp.save(wrong(), tmp_path)
    fp.plan.verify(folder)
    with pytest.raises(fp.PruningError, match=r"8\.in_features is 9, its tensors have 8"):
        fp.plan.verify(folder, wrong)


@pytest.mark.parametrize("name", ["plan.json", "plan.safetensors", "model.safetensors"])
def test_damage_is_told(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-7])
    assert f"{name} is damaged" in call(folder, code=2).replace("\n", "")


def test_models_by_name_and_by_function(folder, tmp_path, monkeypatch):
    assert "of the architecture that the plan was made for" in call(folder, "--model", "mlp", code=2)
    assert "module:factory" in call(folder, "--model", "no.such:thing", code=2)
    assert "module:factory" in call(folder, "--model", "tests.structure.removable:IMAGE", code=2)
    assert "Did you mean 'mlp'" in call(folder, "--model", "mlq", code=2)
    dense = fp.models.build_for("digits_convnet", (1, 8, 8), num_classes=10)
    fp.save(fp.prune(dense, measure="magnitude", sparsity=0.5), tmp_path / "digits")
    assert "loads" in call(tmp_path / "digits", "--model", "digits_convnet")
    (tmp_path / "mine.py").write_text("from tests.structure.removable import Plain as build\n")
    monkeypatch.chdir(tmp_path)
    assert "loads" in call(folder, "--model", "mine:build")


def test_masks_and_weights_alone(tmp_path):
    model = Separable()
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Weights())
    path = fp.select(scores, sparsity=0.5).save(tmp_path / "masks.safetensors")
    assert "sparsity 0.5" in call(path, "--model", "tests.structure.removable:Separable")
    weights = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), weights)
    assert "loads" in call(weights, "--model", "tests.structure.removable:Separable")
    weights.write_bytes(weights.read_bytes()[:50])
    assert "cannot be read" in call(weights, code=2)
    save_file({"w": torch.tensor([float("inf")])}, weights)
    assert "'w' NaN or infinite" in call(weights, code=2)
    path.write_bytes(path.read_bytes()[:-1])
    assert "damaged" in call(path, code=2)


def test_what_cannot_be_verified(tmp_path):
    assert "an existing file" in call(tmp_path / "nowhere", code=2)
    assert "plan, masks, onnx, program, weights" in call(tmp_path, code=2)
    assert "plan.json is missing in this folder. Pass what fp.save wrote" in call(tmp_path, code=2)


def test_identity_is_a_plan(tmp_path):
    assert "nothing cut" in call(fp.save(nn.Linear(2, 2), tmp_path))
