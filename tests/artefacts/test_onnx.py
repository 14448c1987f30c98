"""ONNX files: onnxruntime gives what the model gives."""

from __future__ import annotations

import pytest
import torch

import flowprune as fp
from flowprune.artefacts import onnx as module
from flowprune.core import extras
from flowprune.core.errors import PruningError
from tests.artefacts.networks import RECORDS, Branch, Records, convolutional, drawn

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def ran(path, *inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    found = session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
    return [torch.from_numpy(each) for each in found]


def test_a_pruned_model_at_any_batch_size(tmp_path):
    dense, x = convolutional(), drawn(1, 2, 5, 5)
    small = fp.remove(dense, {"0.weight": torch.tensor([True, False, True, True])}, example_inputs=x)
    artefact = fp.export_onnx(small, x, tmp_path / "small.onnx", dynamic_batch=True)
    assert artefact.difference < 1e-5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.onnx", "small.onnx.json"]
    for batch in (1, 6):
        inputs = drawn(batch, 2, 5, 5, seed=batch)
        torch.testing.assert_close(ran(artefact.path, inputs)[0], small.eval()(inputs).detach(), rtol=1e-4, atol=1e-5)
    assert fp.verify_onnx(artefact.path) == ("whole", "hash", "loads", "runs", "finite", "same numbers")
    assert artefact.versions["onnxruntime"] == onnxruntime.__version__


def test_named_inputs_and_weights_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WHOLE", 10)
    model = Records()
    artefact = fp.export_onnx(model, RECORDS, tmp_path / "model.onnx")
    assert artefact.files.keys() == {"model.onnx", "model.onnx.data"}
    assert fp.verify_onnx(artefact.path)[-1] == "same numbers"
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(PruningError, match=r"model\.onnx\.data is missing"):
        fp.verify_onnx(artefact.path)


def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    real = module.load_onnx
    monkeypatch.setattr(module, "load_onnx", lambda path: lambda tensors: [x + 1 for x in real(path)(tensors)])
    with pytest.raises(PruningError, match=r"export_onnx\(model=\) must give what the model gives"):
        fp.export_onnx(convolutional(), drawn(2, 2, 5, 5), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_operation_that_onnx_lacks_is_told_in_one_line(tmp_path):
    class Rare(torch.nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(PruningError, match="must have operations that ONNX has") as told:
        fp.export_onnx(Rare(), drawn(2, 3), tmp_path / "model.onnx")
    assert len(str(told.value).splitlines()) == 1
    with pytest.raises(PruningError, match=r"export_onnx\(model=\) must be a model that torch\.export captures"):
        fp.export_onnx(Branch(), drawn(2, 3), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "call", [lambda path: fp.export_onnx(convolutional(), drawn(2, 2, 5, 5), path), fp.verify_onnx]
)
def test_a_missing_extra_is_named(tmp_path, monkeypatch, call):
    monkeypatch.setitem(extras.EXTRAS, "onnx", ("onnx", "a_module_that_is_nowhere"))
    said = r"needs a_module_that_is_nowhere, not installed here. Run: pip install 'flowprune\[onnx\]'"
    with pytest.raises(PruningError, match=said):
        call(tmp_path / "model.onnx")
