"""Hugging Face models from small random configurations: heads and hidden channels, and what follows them."""

from __future__ import annotations

import copy

import pytest
import torch

import flowprune as fp
from flowprune.structure import trace

transformers = pytest.importorskip("transformers")

TEXT = {"vocab_size": 64, "max_position_embeddings": 16}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
GROUPED = {**TEXT, **SIZES, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 8}
IMAGE = {"image_size": 32, "num_labels": 5}
BLOCKS = {"embed_dim": 16, "depths": [2, 2], "num_heads": [4, 4], "window_size": 4, "patch_size": 4}
MODELS = {
    "ViTForImageClassification": ("ViTConfig", {**SIZES, **IMAGE, "patch_size": 8}, 2),
    "BertForSequenceClassification": ("BertConfig", {**TEXT, **SIZES}, 2),
    "BertForMaskedLM": ("BertConfig", {**TEXT, **SIZES}, 2),
    "GPT2LMHeadModel": (
        "GPT2Config",
        {"vocab_size": 64, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 4},
        2,
    ),
    "LlamaForCausalLM": ("LlamaConfig", GROUPED, 2),
    "Qwen3ForCausalLM": ("Qwen3Config", GROUPED, 2),
    "ConvNextForImageClassification": (
        "ConvNextConfig",
        {"hidden_sizes": [8, 12, 16, 20], "depths": [1] * 4, **IMAGE},
        0,
    ),
    "SwinForImageClassification": ("SwinConfig", {**BLOCKS, **IMAGE}, 4),
}
every = pytest.mark.parametrize("name", MODELS)


def built(name):
    torch.manual_seed(0)
    config, fields, _ = MODELS[name]
    model = getattr(transformers, name)(getattr(transformers, config)(**fields)).eval()
    key = "pixel_values" if "image_size" in fields else "input_ids"
    shape = (2, 3, 32, 32) if key == "pixel_values" else (2, 9)
    return model, {key: torch.randn(shape) if key == "pixel_values" else torch.randint(64, shape)}


@every
def test_heads_and_hidden_channels_are_found(name):
    model, x = built(name)
    found = trace(model, x).groups
    assert sum(group.kind == "heads" for group in found.values()) == MODELS[name][2]
    assert {group.size for group in found.values() if group.kind == "heads"} <= {4}
    hidden = [group for group in found.values() if group.kind == "channels"]
    assert len(hidden) >= max(MODELS[name][2], 2)


@every
@pytest.mark.parametrize("scope", ["global", "local"])
def test_small_is_masked_and_trains(name, scope):
    model, x = built(name)
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Channels(example_inputs=x))
    for sparsity in (0.25, 0.5, 0.75):
        masks = fp.select(scores, sparsity, scope=scope)
        small = fp.remove(model, masks, example_inputs=x)
        masked = copy.deepcopy(model)
        fp.apply(masked, masks)
        out = small(**x).logits
        torch.testing.assert_close(out, masked(**x).logits, rtol=1e-5, atol=1e-5)
        small.train()(**x).logits.sum().backward()
        torch.optim.AdamW(small.parameters(), lr=1e-3).step()
        assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "LlamaForCausalLM", "Qwen3ForCausalLM"])
def test_a_smaller_decoder_goes_on_with_its_cache(name):
    """Generation with the cache of keys and values is what it is without."""
    model, x = built(name)
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Channels(example_inputs=x))
    small = fp.remove(model, fp.select(scores, 0.5, scope="local"), example_inputs=x)
    with torch.no_grad():
        first = small(input_ids=x["input_ids"][:, :-1], use_cache=True)
        cached = small(input_ids=x["input_ids"][:, -1:], past_key_values=first.past_key_values).logits
        torch.testing.assert_close(cached[:, -1], small(**x).logits[:, -1], rtol=1e-4, atol=1e-5)


def test_numbers_of_layers_are_no_numbers_of_heads():
    """As many layers as heads: a layer's place and the number of layers stay what they are, and the cache works."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=64, n_positions=16, n_embd=32, n_layer=4, n_head=4)
    model, x = transformers.GPT2LMHeadModel(config).eval(), {"input_ids": torch.randint(64, (2, 9))}
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Channels(example_inputs=x))
    small = fp.remove(model, fp.select(scores, 0.5, scope="local"), example_inputs=x)
    assert (small.config.n_layer, small.config.n_head, config.n_head) == (4, 2, 4)
    assert [block.attn.layer_idx for block in small.transformer.h] == [0, 1, 2, 3]
    with torch.no_grad():
        first = small(input_ids=x["input_ids"][:, :-1], use_cache=True)
        cached = small(input_ids=x["input_ids"][:, -1:], past_key_values=first.past_key_values).logits
        torch.testing.assert_close(cached[:, -1], small(**x).logits[:, -1], rtol=1e-4, atol=1e-5)


def test_a_configuration_follows_where_all_layers_agree():
    """The saved configuration then builds a model into which the smaller one's weights load."""
    model, x = built("LlamaForCausalLM")
    scores = fp.score("magnitude", fp.gather(model, None, (), needs=()), fp.Channels(example_inputs=x))
    small = fp.remove(model, fp.select(scores, 0.5, scope="local"), example_inputs=x)
    config = small.config
    assert (config.num_attention_heads, config.num_key_value_heads, config.intermediate_size) == (4, 2, 24)
    assert (model.config.num_attention_heads, model.config.num_key_value_heads) == (8, 4)
    again = type(model)(config)
    again.load_state_dict(small.state_dict())
    torch.testing.assert_close(again.eval()(**x).logits, small(**x).logits)
    uneven = {name: torch.arange(score.numel()) < 2 + index % 2 for index, (name, score) in enumerate(scores.items())}
    differing = fp.remove(model, fp.Masks(uneven, layout=scores.layout), example_inputs=x)
    assert differing.config.num_key_value_heads == 2
    uneven["model.layers.1.self_attn.q_proj.weight"][3] = True
    differing = fp.remove(model, fp.Masks(uneven, layout=scores.layout), example_inputs=x)
    assert differing.config.num_key_value_heads == 4


def test_attributes_of_gpt2_follow_each_layer_for_itself():
    model, x = built("GPT2LMHeadModel")
    groups = trace(model, x).groups
    masks = {name: torch.ones(group.size, dtype=torch.bool) for name, group in groups.items()}
    masks["transformer.h.0.attn.c_attn.weight"][1:] = False
    small = fp.remove(model, fp.Masks(masks, layout=groups), example_inputs=x)
    first, second = (block.attn for block in small.transformer.h)
    assert (first.num_heads, first.split_size, first.c_attn.nf) == (1, 8, 24)
    assert (second.num_heads, second.split_size, second.c_attn.nf) == (4, 32, 96)
    assert model.transformer.h[0].attn.split_size == 32
