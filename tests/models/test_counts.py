"""The models are the published ones, to the unit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flowprune as fp
from flowprune.models import build, build_for, mlp
from flowprune.structure import measure_cost


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def weights(model: nn.Module) -> int:
    """Of convolutions and linear layers, without biases: the denominator of unstructured pruning."""
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        ("vgg13", 10, 9_413_066),
        ("vgg13", 100, 9_459_236),
        ("mobilenet_v1", 10, 3_217_226),
        ("mobilenet_v1", 100, 3_309_476),
        ("resnet56", 10, 855_770),
        ("resnet56", 100, 861_620),
        ("resnet18", 100, 11_220_132),
        ("resnet34", 100, 21_328_292),
    ],
)
def test_parameter_counts(name, classes, count):
    assert parameters(build(name, num_classes=classes)) == count


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("vgg16", {}, 14_715_584),
        ("vgg16", {"num_classes": 100}, 14_761_664),
        ("vgg16", {"num_classes": 100, "order": "conv_bn_relu"}, 14_761_664),
        ("vgg19", {}, 20_024_000),
        ("vgg19", {"num_classes": 100}, 20_070_080),
        ("vgg11_plain", {}, 9_747_136),
        ("resnet20", {}, 270_896),
        ("resnet32", {}, 464_432),
        ("resnet32", {"width": 2.0}, 1_855_584),
        ("resnet32", {"width": 2.0, "num_classes": 100}, 1_867_104),
        ("preact_resnet18", {}, 11_164_352),
    ],
)
def test_weight_counts(name, options, count):
    assert weights(build(name, **options)) == count


def test_lenet_300_100_has_266200_weights():
    assert weights(mlp(784, (300, 100))) == 784 * 300 + 300 * 100 + 100 * 10 == 266_200


@pytest.mark.parametrize(("name", "kept"), [("vgg11_plain", 428_874), ("preact_resnet18", 491_231)])
def test_the_weights_that_are_scored_are_those_that_the_paper_counts(name, kept):
    """Biases, norms and the norm of the logits are not pruned; the last layer is."""
    model = build(name)
    found = fp.score("random", fp.gather(model, fp.objectives.cross_entropy(), [], needs=()), fp.Weights())
    assert sum(scores.numel() for scores in found.values()) == weights(model)
    assert sum(int(mask.sum()) for mask in fp.select(found, sparsity=0.956).values()) == kept


def test_plain_vgg_has_the_papers_layers():
    model = build("vgg11_plain")
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [m.weight.shape[0] for m in layers] == [64, 128, 256, 256, 512, 512, 512, 512, 512, 512, 10]
    assert all(m.bias is not None for m in layers)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def test_preactivation_resnet_has_the_papers_layers():
    """Bias-free throughout; shortcuts and classifier are 1x1 convolutions, and only the classifier's has a norm."""
    model = build("preact_resnet18")
    convolutions = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    assert not any(isinstance(m, nn.Linear) for m in model.modules())
    assert all(m.bias is None for m in convolutions.values())
    assert [n for n, m in convolutions.items() if m.kernel_size == (1, 1)] == [
        "stages.1.0.shortcut",
        "stages.2.0.shortcut",
        "stages.3.0.shortcut",
        "classifier",
    ]
    norms = [m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    inputs = [64] * 5 + [128] * 4 + [256] * 4 + [512] * 4
    assert sorted(norms) == [10, *inputs]


@pytest.mark.parametrize(
    ("name", "layers", "channels"),
    [
        ("vgg13", 10, 2944),
        ("mobilenet_v1", 27, 10_944),
        ("resnet56", 57, 2128),
        ("resnet18", 20, 4800),
        ("resnet34", 36, 8512),
    ],
)
def test_batch_norm_layers_and_channels(name, layers, channels):
    norms = [m for m in build(name).modules() if isinstance(m, nn.BatchNorm2d)]
    assert (len(norms), sum(norm.num_features for norm in norms)) == (layers, channels)


def test_5984_channels_of_mobilenet_are_made_by_more_than_a_depthwise_filter():
    """A depthwise filter copies its channel, so a trace counts 5,984 units where the norms count 10,944."""
    model = build("mobilenet_v1")
    found = fp.trace(model, torch.zeros(2, 3, 32, 32)).groups
    assert sum(group.size for group in found.values()) == 5984
    mixing = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
    assert sum(m.out_channels for m in mixing) == 5984


@pytest.mark.parametrize(
    ("name", "count"), [("vgg13", 228_313_088), ("mobilenet_v1", 46_446_592), ("resnet56", 125_753_600)]
)
def test_multiply_adds_at_32_pixels_and_100_classes(name, count):
    """Of convolutions and the linear layer; counted by the library, and once more by the sizes of the outputs."""
    total = 0

    def add(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.get_parameter("weight")
        total += weight.numel() * (output[0, 0].numel() if output.ndim == 4 else 1)

    model, image = build(name, num_classes=100).eval(), torch.zeros(1, 3, 32, 32)
    assert measure_cost(model, image).multiply_adds == count
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    with torch.no_grad():
        model(image)
    assert total == count


def test_the_stages_of_vgg_differ_in_depth_alone():
    made = {name: build_for(name, (3, 32, 32), num_classes=10, width=0.125) for name in ("vgg13", "vgg16", "vgg19")}
    widths = {
        name: [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)] for name, model in made.items()
    }
    assert widths["vgg13"] == [8, 8, 16, 16, 32, 32, 64, 64, 64, 64]
    assert widths["vgg16"] == [8, 8, 16, 16, 32, 32, 32, *[64] * 6]
    assert widths["vgg19"] == [8, 8, 16, 16, 32, 32, 32, 32, *[64] * 8]
