"""Models of transformers from configurations, without a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.core import extras
from flowprune.core.errors import PruningError
from flowprune.models.hugging_face import example_inputs, from_transformers

transformers = pytest.importorskip("transformers")
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
VIT = {**SMALL, "image_size": 8, "patch_size": 4}


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_family_with_fields_of_its_own():
    random = torch.get_rng_state()
    model = fp.models.from_transformers("vit", seed=1, **VIT)
    assert isinstance(model, transformers.ViTModel)
    assert (model.config.hidden_size, model.config.image_size) == (16, 8)
    assert torch.equal(random, torch.get_rng_state())
    assert same(model, from_transformers("vit", seed=1, **VIT))
    assert not same(model, from_transformers("vit", seed=2, **VIT))


def test_the_class_that_is_asked_for_and_fields_that_the_class_derives():
    model = from_transformers("vit", architectures="ViTForImageClassification", num_labels=3, **VIT)
    assert model.classifier.out_features == 3


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("vit", VIT),
        ("bert", {**SMALL, "vocab_size": 30}),
        ("llama", {**SMALL, "vocab_size": 30, "architectures": "LlamaForCausalLM"}),
        ("t5", {"d_model": 16, "num_layers": 1, "num_heads": 2, "d_ff": 16, "d_kv": 8, "vocab_size": 30}),
        ("convnext", {"hidden_sizes": [4, 8], "depths": [1, 1], "num_stages": 2, "image_size": 32}),
    ],
)
def test_example_inputs_run_and_no_cache_is_kept(family, fields):
    model = from_transformers(family, **fields).eval()
    inputs = example_inputs(model)
    with torch.no_grad():
        output = model(**inputs)
    assert all(len(x) == 2 for x in inputs.values())
    assert getattr(output, "past_key_values", None) is None


def test_example_inputs_of_another_shape():
    model = from_transformers("bert", **SMALL, vocab_size=30)
    ids = example_inputs(model, (5,))["input_ids"]
    assert ids.shape == (2, 5)
    assert ids.max() < 30
    assert torch.equal(ids, example_inputs(model, (5,))["input_ids"])
    images = example_inputs(from_transformers("convnext", hidden_sizes=[4], depths=[1], num_stages=1), (3, 16, 16))
    assert images["pixel_values"].shape == (2, 3, 16, 16)


def test_a_model_that_says_nothing_of_its_inputs_is_told():
    model = nn.Linear(1, 1)
    model.config, model.main_input_name = object(), "input_values"
    with pytest.raises(ValueError, match="--input-shape"):
        example_inputs(model)
    assert example_inputs(model, (7,))["input_values"].shape == (2, 7)


def test_a_folder_gives_its_weights_and_a_file_its_configuration(tmp_path):
    model = from_transformers("vit", architectures="ViTForImageClassification", seed=3, **VIT)
    model.save_pretrained(tmp_path)
    again = from_transformers(tmp_path)
    assert type(again) is type(model)
    assert same(again, model)
    drawn = from_transformers(tmp_path / "config.json", seed=4)
    assert type(drawn) is type(model)
    assert not same(drawn, model)
    (tmp_path / "model.safetensors").unlink()
    assert same(from_transformers(tmp_path, seed=4), drawn)


def test_weights_of_another_configuration_are_told(tmp_path):
    from_transformers("vit", **VIT).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Leave the fields as they are") as told:
        from_transformers(tmp_path, intermediate_size=32)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("where", "fields", "said"),
    [
        ("vitt", {}, "Did you mean vit"),
        ("google/vit-base", {}, "Nothing is downloaded"),
        ("vit", {"hiden_size": 3}, "Did you mean hidden_size"),
        ("vit", {"bogus": 3}, "Its own are hidden_size, num_hidden_layers, .*pooler_act"),
        ("vit", {"architectures": "ViTForFun"}, "a class of transformers"),
    ],
)
def test_a_wrong_word_is_told(where, fields, said):
    with pytest.raises(ValueError, match=said):
        from_transformers(where, **fields)


def test_a_folder_that_has_the_name_of_a_family_is_one_only_with_a_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit").mkdir()
    (tmp_path / "bert").write_text("no configuration")
    expected = from_transformers("vit", seed=1, **VIT)
    (tmp_path / "vit" / "model.safetensors").write_bytes(b"of something else")
    assert same(from_transformers("vit", seed=1, **VIT), expected)
    assert from_transformers("bert", **SMALL, vocab_size=30).config.model_type == "bert"
    (tmp_path / "vit" / "model.safetensors").unlink()
    from_transformers("vit", **VIT, num_channels=1).config.save_pretrained(tmp_path / "vit")
    assert from_transformers("vit").config.num_channels == 1


def test_a_folder_without_a_configuration_is_told(tmp_path):
    with pytest.raises(ValueError, match="with a configuration"):
        from_transformers(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 3}))
    with pytest.raises(ValueError, match=re.escape("from_transformers(where=)")):
        from_transformers(tmp_path)


def test_the_network_is_off_before_the_library_is_loaded():
    script = (
        "from flowprune.models import from_transformers\n"
        "try:\n    from_transformers('google/vit-base')\nexcept ValueError:\n    pass\n"
        "import huggingface_hub.constants as c\nprint(c.HF_HUB_OFFLINE)"
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert said.stdout.split()[-1] == "True"


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "hf", ("a_module_that_is_nowhere",))
    with pytest.raises(PruningError, match=r"pip install 'flowprune\[hf\]'"):
        from_transformers("vit")
