"""Networks with blocks that can be taken out, and with some that cannot."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowprune as fp

TOKENS = torch.randint(0, 50, (2, 7), generator=torch.Generator().manual_seed(0))
PICTURES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Mlp(nn.Module):
    """x + W2 relu(W1 x)."""

    def __init__(self, width=6):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 9), nn.Linear(9, width)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


class PostNorm(Mlp):
    """A norm acts on the sum."""

    def forward(self, x):
        return self.norm(x + self.down(torch.relu(self.up(x))))


def residual_mlp(blocks=4, block=Mlp):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), *[block() for _ in range(blocks)], nn.Linear(6, 3))


def network(name, **options):
    return fp.models.build(name, num_classes=5, seed=0, **options)


STILL = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
"""Two models of different depth draw different random numbers."""
SMALL = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 24}


def hugging_face(kind):
    """A small network of a kind of transformers with random weights, and what it is called with."""
    hf = pytest.importorskip("transformers")
    torch.manual_seed(0)
    text = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if kind == "vit":
        config = hf.ViTConfig(**SMALL, image_size=16, patch_size=4, num_labels=3)
        return hf.ViTForImageClassification(config).eval(), {"pixel_values": PICTURES}
    if kind == "gpt2":
        config = hf.GPT2Config(**text, n_layer=4, n_embd=16, n_head=4, n_positions=16, **STILL)
        return hf.GPT2LMHeadModel(config).eval(), {"input_ids": TOKENS}
    if kind == "llama":
        config = hf.LlamaConfig(**SMALL, **text, num_key_value_heads=2)
        return hf.LlamaForCausalLM(config).eval(), {"input_ids": TOKENS, "use_cache": False}
    if kind == "qwen3":
        layers = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]
        config = hf.Qwen3Config(
            **SMALL,
            **text,
            num_key_value_heads=2,
            head_dim=4,
            layer_types=layers,
            use_sliding_window=True,
            sliding_window=3,
        )
        return hf.Qwen3ForCausalLM(config).eval(), {"input_ids": TOKENS}
    if kind == "bert":
        return hf.BertForSequenceClassification(hf.BertConfig(**SMALL, **text)).eval(), {"input_ids": TOKENS}
    config = hf.ConvNextConfig(hidden_sizes=[6, 8, 10], depths=[2, 3, 4], num_stages=3, image_size=16, num_labels=3)
    return hf.ConvNextForImageClassification(config).eval(), {"pixel_values": PICTURES}


KINDS = {
    "residual_mlp": lambda: (residual_mlp(), torch.randn(2, 5, generator=torch.Generator().manual_seed(1))),
    "resnet20": lambda: (network("resnet20"), PICTURES),
    "resnet56": lambda: (network("resnet56", width=0.25), PICTURES[:, :, :8, :8]),
    "resnet18": lambda: (network("resnet18", width=0.125), PICTURES),
    "preact_resnet18": lambda: (network("preact_resnet18", width=0.125), PICTURES),
    **{kind: (lambda kind=kind: hugging_face(kind)) for kind in ("vit", "gpt2", "llama", "qwen3", "convnext")},
}


def signals_of(model, x=None):
    """Parameters alone, with inputs to try the model with."""
    from dataclasses import replace

    return replace(fp.gather(model, None, (), needs=()), example_inputs=x)
