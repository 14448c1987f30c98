"""What holds for every model, and how the layers of some of them stand."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowprune.core.errors import UnknownNameError
from flowprune.models import MODELS, build, build_for, mlp
from flowprune.models.preactivation import PreActivationBlock
from flowprune.models.residual import resnet

NARROW = 0.125
"""The depth and every connection of the published network, at a fraction of its cost."""

every_model = pytest.mark.parametrize("name", MODELS)


def narrow(name: str, image: tuple[int, int, int] = (3, 32, 32), **arguments: object) -> nn.Module:
    return build_for(name, image, **{"num_classes": 7, "width": NARROW, **arguments})


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_every_builder_takes_a_seed_a_width_and_the_number_of_classes():
    for name, builder in MODELS.items():
        assert {"seed", "num_classes", "width"} <= set(inspect.signature(builder).parameters), name


@every_model
@pytest.mark.parametrize("image", [(1, 32, 32), (3, 32, 32), (3, 64, 64)])
def test_one_logit_per_class(name, image):
    logits = narrow(name, image).double()(drawn(2, *image))
    assert logits.shape == (2, 7)
    assert bool(torch.isfinite(logits).all())


@every_model
def test_same_seed_same_weights_and_the_global_state_untouched(name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = narrow(name, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = narrow(name, seed=3).state_dict(), narrow(name, seed=4).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@every_model
def test_every_parameter_gets_a_gradient(name):
    model = narrow(name).double()
    functional.cross_entropy(model(drawn(8, 3, 32, 32)), torch.arange(8) % 7).backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert bool(torch.isfinite(value.grad).all()), parameter
        assert bool(value.grad.any()), parameter


@every_model
def test_an_example_does_not_depend_on_the_others_in_evaluation(name):
    model, x = narrow(name).double().eval(), drawn(3, 3, 32, 32)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]))


@every_model
def test_the_order_of_registration_is_the_order_of_execution(name):
    model, seen = narrow(name).eval(), []
    leaves = {m: n for n, m in model.named_modules() if not list(m.children()) and list(m.parameters())}
    for leaf in leaves:
        leaf.register_forward_hook(lambda m, _i, _o: seen.append(leaves[m]))
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    assert seen == list(leaves.values())


def test_an_error_while_building_puts_the_random_state_back():
    before = torch.get_rng_state()
    with pytest.raises(IndexError):
        resnet([])
    with pytest.raises(UnknownNameError):
        build("vgg16", stem="imagenet")
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_are_drawn_on_the_cpu_whatever_the_default_device():
    """A seed means the same weights everywhere, and the generator of another device is not touched."""
    with torch.device("meta"):
        drawn = mlp(4, (3,), 2, seed=1).state_dict()
    assert all(torch.equal(drawn[key], value) for key, value in mlp(4, (3,), 2, seed=1).state_dict().items())


def test_a_bias_free_identity_mlp_is_a_product_of_matrices():
    model = mlp(4, (3,), 2, activation="identity", bias=False).double()
    first, second = model.layers
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(model(x), x @ first.weight.T @ second.weight.T)


def test_a_preactivation_block_without_residual_is_its_shortcut():
    """The identity passes what came; a projection reads what the first convolution reads."""
    x = drawn(4, 3, 8, 8)
    for block, expected in [
        (PreActivationBlock(3, 3, 1).double(), lambda block: x),
        (
            PreActivationBlock(3, 5, 2).double(),
            lambda block: functional.conv2d(torch.relu(block.norm1(x)), block.shortcut.weight, stride=2),
        ),
    ]:
        nn.init.zeros_(block.conv2.weight)
        torch.testing.assert_close(block(x), expected(block))


def test_a_preactivation_block_without_shortcut_is_norm_relu_convolution_twice():
    block, x = PreActivationBlock(3, 5, 2).double(), drawn(4, 3, 8, 8)
    nn.init.zeros_(block.shortcut.weight)
    y = functional.conv2d(
        torch.relu(functional.batch_norm(x, None, None, training=True)), block.conv1.weight, stride=2, padding=1
    )
    y = functional.conv2d(
        torch.relu(functional.batch_norm(y, None, None, training=True)), block.conv2.weight, padding=1
    )
    torch.testing.assert_close(block(x), y)


def test_the_logits_of_a_preactivation_resnet_are_normalised():
    """In training each class has mean 0 and variance 1 over the batch, up to the norm's epsilon."""
    logits = narrow("preact_resnet18").double()(drawn(16, 3, 32, 32))
    torch.testing.assert_close(logits.mean(0), torch.zeros(7, dtype=torch.float64), rtol=0, atol=1e-9)
    assert bool(((logits.var(0, unbiased=False) > 0.9) & (logits.var(0, unbiased=False) <= 1)).all())


def test_unknown_names_and_arguments_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'vgg13'"):
        build("vgg_13")
    with pytest.raises(UnknownNameError, match="Did you mean 'relu'"):
        mlp(4, (3,), activation="rely")
    with pytest.raises(ValueError, match=r"given its own arguments \(num_classes, .*\); got 'with classes'"):
        build("vgg13", classes=10)
    with pytest.raises(ValueError, match="without in_features"):
        build("mlp")
