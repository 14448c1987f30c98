"""H g: exact against dense Hessians, and the identities of gradient flow."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

from flowprune.core.errors import PruningError
from flowprune.core.tensors import dot, squared_norm
from flowprune.objectives import cross_entropy
from flowprune.signals import gather
from flowprune.signals import hessian as second_order
from tests.signals.networks import Attention, convolutional, flat, images, perceptron, points, sentences, whole


def dense_product(model, objective, batch, vector):
    """H v with H formed entry by entry."""
    shapes = {name: p.shape for name, p in model.named_parameters()}
    point = torch.cat([p.detach().flatten() for p in model.parameters()])

    def loss(theta):
        parts = theta.split([shape.numel() for shape in shapes.values()])
        named = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return objective(lambda *a, **k: functional_call(model, named, a, k), batch)

    # Reverse over reverse without vmap: torch.func.hessian is wrong for layer_norm's weight.
    return torch.autograd.functional.hessian(loss, point) @ vector


def both(model, objective, batches, **options):
    return gather(model, objective, batches, needs=("gradient", "hessian_gradient"), **options)


@pytest.mark.parametrize("temperature", [1.0, 200.0])
@pytest.mark.parametrize("micro_batch", [2, 64])
def test_it_equals_the_dense_hessian_times_the_mean_gradient(temperature, micro_batch):
    model, batches, objective = perceptron(4, 6, 3, bias=True, activation=nn.Tanh), points(), cross_entropy(temperature)
    signals = both(model, objective, batches, micro_batch=micro_batch)
    expected = dense_product(model, objective, whole(batches), flat(signals.gradient))
    torch.testing.assert_close(flat(signals.hessian_gradient), expected, rtol=1e-9, atol=1e-14)


def test_an_objective_that_calls_the_model_itself_is_right_too():
    # Reverse over forward then sees a constant; the trial on two examples notices.
    model, batches = perceptron(4, 6, 3, activation=nn.Tanh), points()
    expected = both(model, cross_entropy(), batches)
    found = both(model, lambda forward, batch: cross_entropy()(model, batch), batches)
    torch.testing.assert_close(found.hessian_gradient, expected.hessian_gradient)


def test_it_is_exact_for_convolutions_and_norms_with_batches_of_several_sizes():
    model, batches = convolutional().eval(), images()
    signals = both(model, cross_entropy(), batches, micro_batch=3)
    expected = dense_product(model, cross_entropy(), whole(batches), flat(signals.gradient))
    torch.testing.assert_close(flat(signals.hessian_gradient), expected, rtol=1e-9, atol=1e-12)


def test_reverse_over_forward_equals_reverse_over_reverse():
    model, batches = convolutional().eval(), images()
    params = dict(model.named_parameters())
    v = {name: torch.randn_like(p) for name, p in params.items()}
    with second_order.twice_differentiable():
        for batch in batches:
            ways = second_order.reverse_over_forward, second_order.reverse_over_reverse
            (a, loss_a), (b, loss_b) = (way(model, cross_entropy(), params, v)(batch) for way in ways)
            torch.testing.assert_close(a, b)
            torch.testing.assert_close(loss_a, loss_b.detach())


def test_attention_is_differentiated_twice():
    torch.manual_seed(0)
    model, batches = Attention(width=4).double(), sentences()
    signals = both(model, cross_entropy(), batches)
    joined = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
    with second_order.twice_differentiable():
        expected = dense_product(model, cross_entropy(), joined, flat(signals.gradient))
    torch.testing.assert_close(flat(signals.hessian_gradient), expected, rtol=1e-9, atol=1e-12)


def test_torchs_own_transformer_layer_is_differentiated_twice():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation=torch.tanh)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 3)).double()
    batches = [(torch.randn(4, 3, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 1]))]
    signals = both(model, cross_entropy(), batches)
    model.eval()
    with second_order.twice_differentiable():
        expected = dense_product(model, cross_entropy(), batches[0], flat(signals.gradient))
    torch.testing.assert_close(flat(signals.hessian_gradient), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", [nn.LayerNorm(6), nn.InstanceNorm1d(6), nn.GroupNorm(2, 6)])
def test_norms_whose_forward_mode_is_wrong_in_torch_are_right_here(norm):
    torch.manual_seed(0)
    rest = [nn.Flatten(1), nn.Linear(12, 3)]
    between = [] if isinstance(norm, nn.LayerNorm) else [Swap()]
    model = nn.Sequential(nn.Linear(4, 6), *between, norm, *between, nn.Tanh(), *rest).double()
    batches = [(torch.randn(n, 2, 4, dtype=torch.float64), torch.randint(3, (n,))) for n in (5, 4)]
    signals = both(model, cross_entropy(), batches)
    expected = dense_product(model, cross_entropy(), whole(batches), flat(signals.gradient))
    torch.testing.assert_close(flat(signals.hessian_gradient), expected, rtol=1e-9, atol=1e-12)


class Swap(nn.Module):
    """Channels last to channels second, and back."""

    def forward(self, x):
        return x.transpose(1, 2)


class _Cube(torch.autograd.Function):
    """Twice differentiable, but without what functorch asks of a function."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


class _Cubes(nn.Module):
    def forward(self, x):
        return _Cube.apply(x)


def test_it_falls_back_where_functorch_rejects_the_model():
    model, batches = perceptron(4, 6, 3, activation=_Cubes), points()
    params, v = dict(model.named_parameters()), {n: torch.ones_like(p) for n, p in model.named_parameters()}
    with pytest.raises(RuntimeError):
        second_order.reverse_over_forward(model, cross_entropy(), params, v)(batches[0])
    signals = both(model, cross_entropy(), batches)

    class Cubes(nn.Module):
        def forward(self, x):
            return x**3

    plain = perceptron(4, 6, 3, activation=Cubes)
    expected = dense_product(plain, cross_entropy(), whole(batches), flat(signals.gradient))
    torch.testing.assert_close(flat(signals.hessian_gradient), expected)


def test_compiled_models_are_differentiated_uncompiled():
    model, batches = perceptron(4, 6, 3, activation=nn.Tanh), points()
    expected = flat(both(model, cross_entropy(), batches).hessian_gradient)
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(flat(both(compiled, cross_entropy(), batches).hessian_gradient), expected)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * 2


def test_a_model_that_cannot_be_differentiated_twice_is_named_as_such():
    class Doubles(nn.Module):
        def forward(self, x):
            return _Once.apply(x)

    model = perceptron(4, 6, 3, activation=Doubles)
    with pytest.raises(PruningError, match=r"could not differentiate the model twice: .*once_differentiable"):
        both(model, cross_entropy(), points())


def test_a_loss_linear_in_the_parameters_has_no_curvature():
    signals = both(nn.Linear(3, 1), lambda forward, batch: forward(batch).sum(), [torch.ones(2, 3)])
    assert all(not value.any() for value in signals.hessian_gradient.values())
    train = both(nn.Linear(3, 1), lambda forward, batch: forward(batch).sum(), [torch.ones(2, 3)], mode="train")
    assert all(not value.any() for value in train.hessian_gradient.values())


class Quadratic(nn.Module):
    """L = 1/2 theta^T A theta, minimal at zero."""

    def __init__(self, size=5):
        super().__init__()
        torch.manual_seed(0)
        root = torch.randn(size, size, dtype=torch.float64)
        self.matrix = root @ root.T
        self.theta = nn.Parameter(torch.randn(size, dtype=torch.float64))

    def forward(self, x):
        return (x * (self.theta @ self.matrix @ self.theta) / 2).mean()


def test_a_quadratic_has_theta_h_g_equal_to_the_squared_gradient():
    model = Quadratic()
    signals = both(model, lambda forward, batch: forward(batch), [torch.ones(2, dtype=torch.float64)])
    torch.testing.assert_close(signals.gradient["theta"], (model.matrix @ model.theta).detach())
    assert dot(signals.params, signals.hessian_gradient) == pytest.approx(squared_norm(signals.gradient), rel=1e-12)


def filters(product):
    return product.flatten(1).sum(1)


def test_train_mode_norms_make_filters_scale_invariant():
    # Science document 1, section 1.5: sum(theta g) = 0 and sum(theta H g) = -||g_f||^2 per filter, E3 and E4 vanish.
    model, batches = convolutional(), images((16,))
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-300  # the invariance is exact without it
    signals = both(model, cross_entropy(), batches, mode="train")
    for name in ("0.weight", "3.weight"):
        theta, g, hg = signals.params[name], signals.gradient[name], signals.hessian_gradient[name]
        assert filters(theta * g).abs().max() <= 1e-12 * filters((theta * g).abs()).max()
        torch.testing.assert_close(filters(theta * hg), -filters(g.square()), rtol=1e-9, atol=1e-16)


def test_eval_mode_norms_do_not():
    # RT-12: the mode changes what the scores mean.
    model, batches = convolutional(), images((16,))
    evaluated, trained = (both(model, cross_entropy(), batches, mode=mode) for mode in ("eval", "train"))
    theta, g = evaluated.params["0.weight"], evaluated.gradient["0.weight"]
    assert filters(theta * g).abs().min() > 1e-6
    assert not torch.allclose(g, trained.gradient["0.weight"], rtol=0.1)
    assert evaluated.loss != pytest.approx(trained.loss)


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_at_high_temperature_theta_h_g_measures_homogeneity(layers):
    # (L - 1) ||g||^2 as T grows: 2.16, 2.03, 2.007, 2.0007 for L = 3.
    model, batches = perceptron(*[6] * layers, 3), points(features=6)

    def ratio(temperature):
        signals = both(model, cross_entropy(temperature), batches)
        return dot(signals.params, signals.hessian_gradient) / squared_norm(signals.gradient)

    errors = [abs(ratio(temperature) - (layers - 1)) for temperature in (5.0, 20.0, 200.0, 2000.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] <= 1e-3
    assert errors[-2] / errors[-1] == pytest.approx(10, rel=0.05)  # the remainder is O(1/T)


def test_theta_g_is_equal_over_the_layers_of_a_homogeneous_network():
    model = perceptron(4, 9, 7, 3)
    signals = gather(model, cross_entropy(), points())
    sums = [float((signals.params[name] * g).sum()) for name, g in signals.gradient.items()]
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-12)


def test_single_precision_is_close_enough_to_rank_by():
    exact = both(convolutional(), cross_entropy(), images((64,)))
    rounded = both(convolutional(torch.float32), cross_entropy(), images((64,), torch.float32))
    error = (flat(rounded.hessian_gradient) - flat(exact.hessian_gradient)).norm() / flat(exact.hessian_gradient).norm()
    assert error <= 1e-3
