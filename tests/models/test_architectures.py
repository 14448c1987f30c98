"""The models are the published ones, to the unit."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from flowprune.core.errors import UnknownNameError
from flowprune.models import MODELS, build, build_for, mlp
from flowprune.models.residual import resnet

IMAGE = {"digits_convnet": (1, 8, 8), "mlp": (1, 8, 8)}
SMALL = {"resnet18", "resnet34", "resnet110"}


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


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


@pytest.mark.parametrize(
    ("name", "count"), [("vgg13", 228_313_088), ("mobilenet_v1", 46_446_592), ("resnet56", 125_753_600)]
)
def test_multiply_adds_at_32_pixels_and_100_classes(name, count):
    """Counts of science/1, table 2.2: convolutions and the linear layer."""
    total = 0

    def add(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.get_parameter("weight")
        total += weight.numel() * (output[0, 0].numel() if output.ndim == 4 else 1)

    model = build(name, num_classes=100).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    assert total == count


def test_vgg_norms_stand_after_the_activation():
    kinds = [type(layer).__name__ for layer in build("vgg13").features[:7]]
    assert kinds == ["Conv2d", "ReLU", "BatchNorm2d", "Conv2d", "ReLU", "BatchNorm2d", "MaxPool2d"]


def test_the_order_of_registration_is_the_order_of_execution():
    for name in MODELS:
        model, seen = build_for(name, IMAGE.get(name, (3, 32, 32)), num_classes=10).eval(), []
        leaves = {m: n for n, m in model.named_modules() if not list(m.children()) and list(m.parameters())}
        for leaf in leaves:
            leaf.register_forward_hook(lambda m, _i, _o, leaves=leaves, seen=seen: seen.append(leaves[m]))
        with torch.no_grad():
            model(torch.zeros(1, *IMAGE.get(name, (3, 32, 32))))
        assert seen == list(leaves.values()), name


@pytest.mark.parametrize("name", sorted(set(MODELS) - SMALL))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_model_gives_one_logit_per_class(name, channels):
    shape = (channels, *IMAGE.get(name, (3, 32, 32))[1:])
    logits = build_for(name, shape, num_classes=7)(torch.randn(2, *shape))
    assert logits.shape == (2, 7)
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("name", sorted(set(MODELS) - SMALL))
def test_same_seed_same_weights_and_the_global_state_untouched(name):
    shape = IMAGE.get(name, (3, 32, 32))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build_for(name, shape, num_classes=10, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = build_for(name, shape, num_classes=10, seed=3).state_dict()
    other = build_for(name, shape, num_classes=10, seed=4).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_every_builder_takes_a_seed_and_the_number_of_classes():
    for name, builder in MODELS.items():
        assert {"seed", "num_classes"} <= set(inspect.signature(builder).parameters), name


def test_an_error_while_building_puts_the_random_state_back():
    before = torch.get_rng_state()
    with pytest.raises(IndexError):
        resnet([])
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_are_drawn_on_the_cpu_whatever_the_default_device():
    """A seed means the same weights everywhere, and the generator of another device is not touched."""
    with torch.device("meta"):
        drawn = mlp(4, (3,), 2, seed=1).state_dict()
    assert all(torch.equal(drawn[key], value) for key, value in mlp(4, (3,), 2, seed=1).state_dict().items())


def test_widths_are_arguments():
    assert parameters(build("digits_convnet", widths=(2, 4), in_channels=3)) == 2 * 27 + 4 * 18 + 2 * 6 + 10 * 5
    assert build("vgg13", stages=((4, 4), (8,)))(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    assert build("mobilenet_v1", stem=4, blocks=((8, 2),))(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def test_a_bias_free_identity_mlp_is_a_product_of_matrices():
    model = mlp(4, (3,), 2, activation="identity", bias=False).double()
    first, second = model.layers
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(model(x), x @ first.weight.T @ second.weight.T)


def test_unknown_names_and_arguments_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'vgg13'"):
        build("vgg16")
    with pytest.raises(UnknownNameError, match="Did you mean 'relu'"):
        mlp(4, (3,), activation="rely")
    with pytest.raises(ValueError, match=r"given its own arguments \(num_classes, .*\); got 'with classes'"):
        build("vgg13", classes=10)
    with pytest.raises(ValueError, match="without in_features"):
        build("mlp")
