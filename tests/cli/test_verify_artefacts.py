"""``flowprune verify`` on exported files, and on plans of models from outside."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

import flowprune as fp
from flowprune.cli.main import application
from flowprune.models import from_transformers
from tests.artefacts.networks import convolutional, drawn

CHECKS = "Checked: whole, hash, loads, runs, finite, same numbers."


def call(*arguments, code=0):
    result = CliRunner().invoke(application(), ["verify", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def exported(folder, suffix):
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    export = {".onnx": fp.export_onnx, ".pt2": fp.export_program}[suffix]
    return export(convolutional(), drawn(2, 2, 5, 5), folder / f"small{suffix}", dynamic_batch=True).path


@pytest.mark.parametrize(("suffix", "kind"), [(".onnx", "onnx"), (".pt2", "program")])
def test_an_exported_file_is_run(tmp_path, suffix, kind):
    path = exported(tmp_path, suffix)
    said = call(path)
    assert CHECKS in said
    assert "float32 (2, 2, 5, 5) -> float32 (2, 3); any number of examples" in said
    assert f"({kind})" in said
    assert "--model must be left out" in call(path, "--model", "mlp", code=2)
    path.write_bytes(path.read_bytes()[:-3])
    damaged = call(path, code=2).replace("\n", "")
    assert "does not match its checksum" in damaged
    assert "Verified" not in damaged
    path.with_name(f"{path.name}.json").unlink()
    assert f"needs {path.name}.json" in call(path, code=2)


def test_the_plan_of_a_model_of_transformers(tmp_path):
    pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    model = from_transformers("vit", image_size=8, patch_size=4, **sizes)
    x = {"pixel_values": drawn(2, 3, 8, 8)}
    units = fp.Channels(example_inputs=x)
    folder = fp.save(fp.prune(model, measure="magnitude", sparsity=0.3, granularity=units), tmp_path)
    word = "hf:vit,image_size=8,patch_size=4," + ",".join(f"{name}={size}" for name, size in sizes.items())
    assert "loads" in call(folder, "--model", word)
    assert "of the architecture that the plan was made for" in call(folder, "--model", "hf:vit,hidden_size=24", code=2)
    assert "has no '='" in call(folder, "--model", "hf:vit,hidden_size", code=2)
