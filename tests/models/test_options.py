"""Width, stem, order and the other options, and what each changes."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch import nn

from flowprune.core.errors import UnknownNameError
from flowprune.experiments.spec import ModelSpec
from flowprune.models import MODELS, build, build_for, mlp
from flowprune.structure import measure_cost

IN_PYTHON_ALONE = {"blocks", "stages"}
STEMMED = [name for name, builder in MODELS.items() if "stem" in inspect.signature(builder).parameters]
ORDERED = [name for name, builder in MODELS.items() if "order" in inspect.signature(builder).parameters]
every_model = pytest.mark.parametrize("name", MODELS)


def sized(name: str, **arguments: object) -> nn.Module:
    return build_for(name, (3, 32, 32), num_classes=7, **arguments)


def widths(model: nn.Module) -> list[int]:
    """Channels that each layer makes."""
    return [m.weight.shape[0] for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]


@every_model
def test_twice_the_width_is_twice_the_channels_of_all_but_the_logits(name):
    once, twice = widths(sized(name, width=0.125)), widths(sized(name, width=0.25))
    outputs = 2 if name == "preact_resnet18" else 1  # the classifier, and the norm over its logits
    assert once[-outputs:] == twice[-outputs:] == [7] * outputs
    assert twice[:-outputs] == [2 * channels for channels in once[:-outputs]]


@every_model
def test_a_width_of_one_is_the_default(name):
    default, one = sized(name).state_dict(), sized(name, width=1).state_dict()
    assert all(torch.equal(default[key], one[key]) for key in default)


@every_model
def test_the_least_width_leaves_one_channel_in_each_layer(name):
    model = sized(name, width=1e-6)
    assert set(widths(model)) == {1, 7}
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@every_model
@pytest.mark.parametrize("width", [0, -1.0, math.nan, math.inf, -math.inf, "1", None, True])
def test_a_width_that_is_no_number_above_zero_is_refused(name, width):
    with pytest.raises(ValueError, match=r"models.build\(width=\) must be a finite number > 0; got "):
        sized(name, width=width)


def test_a_width_is_refused_where_there_is_nothing_to_multiply():
    with pytest.raises(ValueError, match="a finite number > 0"):
        mlp(4, (), width=-1)


def test_widths_go_to_the_nearest_whole_number():
    model = mlp(4, (10, 30, 1), width=0.33)
    assert [layer.out_features for layer in model.layers] == [3, 10, 1, 10]


@pytest.mark.parametrize("channels", [0, -3, 2.5, True, "8"])
def test_layers_without_a_whole_number_of_channels_are_refused(channels):
    for name, options in [
        ("mlp", {"widths": (channels,)}),
        ("digits_convnet", {"widths": (4, channels)}),
        ("vgg11_plain", {"hidden": (channels,)}),
        ("vgg16", {"stages": ((4, channels),)}),
        ("mobilenet_v1", {"stem_width": channels}),
        ("mobilenet_v1", {"blocks": ((channels, 1),)}),
    ]:
        with pytest.raises(ValueError, match="the width of a layer must be a whole number >= 1; got "):
            sized(name, **options)


def test_the_networks_with_a_stem():
    assert set(MODELS) - set(STEMMED) == {"digits_convnet", "mlp"}


@pytest.mark.parametrize("name", STEMMED)
def test_a_tiny_imagenet_image_costs_what_a_cifar_image_costs(name):
    cifar = measure_cost(sized(name, width=0.25), torch.zeros(1, 3, 32, 32))
    tiny = measure_cost(sized(name, width=0.25, stem="tiny_imagenet"), torch.zeros(1, 3, 64, 64))
    assert tiny == cifar


@pytest.mark.parametrize("name", STEMMED)
def test_the_stem_changes_a_stride_and_no_weight(name):
    cifar, tiny = (sized(name, width=0.125, stem=stem) for stem in ("cifar", "tiny_imagenet"))
    first = [next(m for m in model.modules() if isinstance(m, nn.Conv2d)) for model in (cifar, tiny)]
    assert [(m.kernel_size, m.stride) for m in first] == [((3, 3), (1, 1)), ((3, 3), (2, 2))]
    expected = tiny.state_dict()
    assert all(torch.equal(expected[key], value) for key, value in cifar.state_dict().items())


@pytest.mark.parametrize("name", STEMMED)
def test_an_unknown_stem_is_refused(name):
    with pytest.raises(UnknownNameError, match=r"STEMS has no 'imagenet'.* Known: cifar, tiny_imagenet"):
        sized(name, width=0.125, stem="imagenet")


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize(
    ("options", "unit"),
    [
        ({}, ["Conv2d", "ReLU", "BatchNorm2d"]),
        ({"order": "conv_relu_bn"}, ["Conv2d", "ReLU", "BatchNorm2d"]),
        ({"order": "conv_bn_relu"}, ["Conv2d", "BatchNorm2d", "ReLU"]),
        ({"order": "conv_relu"}, ["Conv2d", "ReLU"]),
    ],
)
def test_what_a_convolution_stands_with(name, options, unit):
    model = sized(name, width=0.125, **options)
    kinds = [type(layer).__name__ for layer in model.features]
    assert kinds[: 2 * len(unit) + 1] == [*unit, *unit, "MaxPool2d"]
    assert kinds.count("MaxPool2d") == 5
    assert (model.features[0].bias is None) == ("BatchNorm2d" in unit)  # a norm after it has a shift of its own


def test_the_vggs_with_an_order():
    assert ORDERED == ["vgg13", "vgg16", "vgg19"]
    with pytest.raises(UnknownNameError, match=r"ORDERS has no 'bn_conv_relu'.* Known: conv_bn_relu, conv_relu, conv_"):
        build("vgg16", order="bn_conv_relu")


def test_the_order_changes_the_function_and_no_weight():
    after, before = (sized("vgg13", width=0.125, order=order) for order in ("conv_relu_bn", "conv_bn_relu"))
    convolutions = [[m.weight for m in model.modules() if isinstance(m, nn.Conv2d)] for model in (after, before)]
    assert all(torch.equal(a, b) for a, b in zip(*convolutions, strict=True))
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(after(x), before(x))


def test_layouts_are_arguments():
    digits = build("digits_convnet", widths=(2, 4), in_channels=3)
    assert sum(p.numel() for p in digits.parameters()) == 2 * 27 + 4 * 18 + 2 * 6 + 10 * 5
    image = torch.zeros(2, 3, 8, 8)
    assert build("vgg13", stages=((4, 4), (8,)))(image).shape == (2, 10)
    assert build("mobilenet_v1", stem_width=4, blocks=((8, 2),))(image).shape == (2, 10)
    plain = build("vgg11_plain", stages=((4,),), hidden=(6,), width=2)
    assert widths(plain) == [8, 12, 10]


@every_model
def test_every_option_can_be_written_in_a_run_spec(name):
    """Except layouts of tuples in tuples, which are for Python."""
    parameters = inspect.signature(MODELS[name]).parameters
    options = {p.name: p.default for p in parameters.values() if p.default is not p.empty}
    written = {key: value for key, value in options.items() if key not in IN_PYTHON_ALONE}
    spec = ModelSpec.model_validate({"name": name, "options": written})
    assert dict(spec.options) == written
    narrow = {**spec.options, "num_classes": 7, "width": 0.125, "in_channels": 3}
    fitted = {key: value for key, value in narrow.items() if key in parameters}
    assert build_for(name, (3, 32, 32), **fitted)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
