"""The models that removal is tried on, what they are called with, and which layers give their output.

The project's own networks; Hugging Face models from small random configurations; networks of the kinds that people
prune, written by hand. The last two are those of the tests.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import flowprune as fp

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.structure import networks, removable, stubborn
from tests.structure.test_transformers import MODELS, built

OWN = ("vgg13", "resnet56", "mobilenet_v1", "preact_resnet18")
HEADS = {"BertForMaskedLM": "cls.predictions.decoder", "GPT2LMHeadModel": "lm_head"}
HEADS |= dict.fromkeys(("LlamaForCausalLM", "Qwen3ForCausalLM"), "lm_head")
BY_HAND = {
    networks.DenseNet: "head",
    networks.Inception: "head",
    networks.Detector: "boxes classes",
    networks.UNet: "head",
    networks.CrossStage: "head",
    networks.GroupNormed: "head",
    networks.Unshuffled: "head",
    networks.VisionTransformer: "head",
    networks.GroupedQueries: "logits",
    networks.Experts: "head",
    networks.Bilinear: "out",
    removable.SqueezeExcite: "head",
    removable.Shuffled: "head",
    removable.Tied: "head",
    stubborn.Branching: "b",
}
TITLES = {
    "vgg13": "VGG-13",
    "resnet56": "ResNet-56",
    "mobilenet_v1": "MobileNet-V1",
    "preact_resnet18": "PreAct-ResNet-18",
    **{name: name.partition("For")[0] for name in MODELS},
    "BertForMaskedLM": "BERT, tied words",
    "BertForSequenceClassification": "BERT",
    "GPT2LMHeadModel": "GPT-2",
    "ViTForImageClassification": "ViT",
    "LlamaForCausalLM": "Llama",
    "Qwen3ForCausalLM": "Qwen3",
    "ConvNextForImageClassification": "ConvNeXt",
    "SwinForImageClassification": "Swin",
    "DenseNet": "DenseNet (concatenation)",
    "Inception": "Inception (branches)",
    "Detector": "YOLO-like (C2f, two scales)",
    "UNet": "U-Net",
    "CrossStage": "CSP (channels by place)",
    "GroupNormed": "group norm, residual",
    "Unshuffled": "space to depth",
    "VisionTransformer": "ViT, one layer for q, k, v",
    "GroupedQueries": "decoder, grouped queries, rotary, tied",
    "Experts": "experts (einsum, bare parameters)",
    "Bilinear": "attention of one head",
    "SqueezeExcite": "squeeze-excite",
    "Shuffled": "ShuffleNet (channel shuffle)",
    "Tied": "two layers with one weight",
    "Branching": "a branch that data decide",
}


@dataclass(frozen=True)
class Subject:
    """A model to be pruned.

    Attributes:
        build: A new model in evaluation mode, and its keyword or positional arguments; the same ones each time.
        outputs: Names of the layers that give the output, which a pruner without a proof has to be told.
        family: Where it comes from.
    """

    build: Callable[[], tuple[nn.Module, object]]
    outputs: tuple[str, ...]
    family: str


def used(model: nn.Module) -> nn.Module:
    """With scales, shifts and running statistics that are neither zero nor one, as after training."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.dim() != 1 or not tensor.is_floating_point() or "angles" in name or "inv_freq" in name:
                continue
            noise = torch.rand(tensor.shape, generator=generator)
            positive = name.endswith(("weight", "running_var")) or "layer_scale" in name
            tensor.copy_(0.5 + noise if positive else noise - 0.5)
    return model.eval()


def own(name: str) -> tuple[nn.Module, object]:
    torch.manual_seed(0)
    return used(fp.models.build(name, num_classes=10)), torch.randn(2, 3, 32, 32)


def by_hand(kind: type[nn.Module]) -> tuple[nn.Module, object]:
    torch.manual_seed(0)
    words = kind in networks.NETWORKS and networks.NETWORKS[kind][0] == networks.WORDS
    return used(kind()), torch.randint(16, (2, 7)) if words else torch.randn(2, 3, 8, 8)


def from_hub(name: str) -> tuple[nn.Module, object]:
    """Its matrices are small at the start (0.02): made of usual size, so that attention attends to something."""
    model, x = built(name)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.mul_(8.0 if tensor.dim() > 1 else 1.0)
    return used(model), x


def subjects() -> Mapping[str, Subject]:
    """All of them, by name, in the order of the table."""
    found = {name: Subject(lambda name=name: own(name), ("classifier",), "flowprune") for name in OWN}
    for name in MODELS:
        outputs = (HEADS.get(name, "classifier"),)
        found[name] = Subject(lambda name=name: from_hub(name), outputs, "Hugging Face")
    for kind, outputs in BY_HAND.items():
        found[kind.__name__] = Subject(lambda kind=kind: by_hand(kind), tuple(outputs.split()), "by hand")
    return found


def call(model: nn.Module, x: object) -> torch.Tensor:
    """The output, or the logits of a Hugging Face model."""
    out = model(**x) if isinstance(x, Mapping) else model(x)
    return getattr(out, "logits", out)


def other(x: object) -> object:
    """Other inputs of the same shape, on which nothing was traced: images with their sign turned, words backwards."""
    if isinstance(x, Mapping):
        return {key: other(value) for key, value in x.items()}
    return -x if x.is_floating_point() else x.flip(-1)


@torch.no_grad()
def distance(small: nn.Module, masked: nn.Module, x: object) -> dict[str, float]:
    """The largest difference of the outputs of two models, on the inputs and on others, and the largest output."""
    pairs = [(call(small, y), call(masked, y)) for y in (x, other(x))]
    if any(a.shape != b.shape for a, b in pairs):
        raise ValueError(f"gives {tuple(pairs[0][0].shape)} for {tuple(pairs[0][1].shape)}")
    return {
        "difference": max(float((a - b).abs().max()) for a, b in pairs),
        "scale": max(float(b.abs().max()) for _, b in pairs),
    }
