"""Diagonals that stand for the Hessian's: against the whole matrix, against each other, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import flowprune as fp
from flowprune.objectives import Objective, cross_entropy, mean_squared_error
from flowprune.objectives.output_curvature import Derived
from flowprune.signals import Curvature, gather
from flowprune.signals.curvature import KINDS
from flowprune.signals.per_example import choose
from flowprune.signals.per_example.choose import squares
from flowprune.signals.per_example.hooked import hooked
from flowprune.signals.per_example.singly import looped, vectorised
from tests.reference.curvature import class_sum, gauss_newton
from tests.signals.curved import C, flat, gathered, leading, pictures, two_layers
from tests.signals.networks import Attention, convolutional, images, perceptron, points, sentences, whole


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_lm_5_the_diagonal_is_that_of_the_whole_matrix_and_of_the_sum_over_classes(temperature):
    model, batches = two_layers().eval(), pictures()
    x, y = whole(batches)
    found = flat(gathered(model, batches, cross_entropy(temperature)).curvature)
    matrix = gauss_newton(model, lambda z, t: functional.cross_entropy(z / temperature, t), x, y)
    torch.testing.assert_close(found, matrix.diagonal(), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(found, class_sum(model, x, temperature), rtol=1e-10, atol=1e-14)


def test_lm_5_random_labels_agree_in_expectation():
    model, batches = two_layers().eval(), pictures()
    exact = flat(gathered(model, batches).curvature)
    found = flat(gathered(model, batches, curvature=Curvature("fisher_mc", samples=10_000), seed=0).curvature)
    assert float((found - exact).norm() / exact.norm()) < 0.02


def test_random_probes_agree_with_the_hessian_in_expectation():
    model, batches = perceptron(4, 5, 3, activation=nn.Tanh).eval(), points((6, 6))
    each = [0.5 * hessian(model, *batch) for batch in batches]  # of equal sizes
    exact = sum(each).diagonal()
    for samples in (50, 2000):
        found = flat(gathered(model, batches, curvature=Curvature("hutchinson", samples=samples), seed=1).curvature)
        spread = (sum(2 * (h - h.diagonal().diag()).square().sum() for h in each) / samples).sqrt()
        assert 0.5 < float((found - exact).norm() / spread) < 1.5


def hessian(model, x, y):
    params = list(model.parameters())
    slope = torch.autograd.grad(functional.cross_entropy(model(x), y), params, create_graph=True)
    rows = [torch.autograd.grad(s, params, retain_graph=True) for g in slope for s in g.flatten()]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


def test_random_probes_are_exact_for_a_diagonal_hessian():
    layer = nn.Linear(3, 1, bias=False).double()
    x = torch.eye(3).double()  # L = mean over examples of w_i², so H = (2/3) I
    signals = gathered(layer, [(x, torch.zeros(3, 1).double())], mean_squared_error(), "hutchinson")
    torch.testing.assert_close(signals.curvature["weight"], torch.full((1, 3), 2 / 3).double())


def test_the_empirical_one_is_the_fisher_diagonal():
    model, batches = two_layers(), pictures()
    both = gather(model, cross_entropy(), batches, needs=("curvature", "fisher"), curvature="empirical")
    assert both.curvature_kind == "empirical"
    torch.testing.assert_close(flat(both.curvature), flat(both.fisher), rtol=0, atol=0)
    torch.testing.assert_close(flat(gathered(model, batches, curvature="empirical").curvature), flat(both.fisher))


def test_at_a_saturated_fit_the_kinds_differ():
    """The true label's gradient vanishes where its probability is 1, the Gauss-Newton diagonal with it, not before."""
    layer = nn.Linear(1, 2, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [0.0]]))
    batch = (torch.ones(1, 1).double(), torch.tensor([0]))
    p = 1 / (1 + math.exp(-1))
    exact = gathered(layer, [batch]).curvature["weight"]
    empirical = gathered(layer, [batch], curvature="empirical").curvature["weight"]
    torch.testing.assert_close(exact, torch.full((2, 1), p * (1 - p)).double())
    torch.testing.assert_close(empirical, torch.full((2, 1), (1 - p) ** 2).double())


@pytest.mark.parametrize("way", [hooked, vectorised, looped])
def test_all_ways_agree(way):
    model, batch = convolutional().eval(), images((6,))[0]
    params = dict(model.named_parameters())
    pulled = cross_entropy().output_curvature.columns
    found = squares(way(model, cross_entropy().per_example, params, pulled), params, batch)
    x, y = batch
    expected = gauss_newton(model, functional.cross_entropy, x, y).diagonal() * len(x)
    torch.testing.assert_close(flat(found), expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Conv2d(2, 4, 3, groups=2, padding=1), nn.Flatten(), nn.Linear(144, C)],
        lambda: [nn.Conv2d(2, 4, 3, dilation=2), nn.ReLU(), nn.Flatten(), nn.Linear(16, C)],
        lambda: [nn.Conv2d(2, 600, 2, stride=2), nn.GroupNorm(2, 600), nn.Flatten(), nn.Linear(5400, C)],
        lambda: [nn.Flatten(2), nn.Conv1d(2, 3, 5), nn.Flatten(), nn.Linear(96, C)],
        lambda: [nn.Flatten(2), nn.Linear(36, 4), nn.LayerNorm(4), nn.Flatten(), nn.Linear(8, C)],
        lambda: [nn.Flatten(2), nn.Linear(36, 3), nn.Flatten(), nn.Linear(6, C, bias=False)],
    ],
)
def test_layers_of_every_kind(layers):
    torch.manual_seed(2)
    model, batches = nn.Sequential(*layers()).double(), pictures((4, 2))
    found = flat(gathered(model, batches).curvature)
    exact = class_sum(model, whole(batches)[0])
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-14)


def test_models_that_cannot_be_watched_and_models_of_words():
    shared = nn.Sequential(*[layer := nn.Linear(4, 4), nn.Tanh(), layer, nn.Linear(4, 3)]).double()
    batches = points()
    assert choose(shared, cross_entropy().per_example, dict(shared.named_parameters()), leading(batches)).name != (
        "hooked"
    )
    torch.testing.assert_close(flat(gathered(shared, batches).curvature), class_sum(shared, whole(batches)[0]))
    words = Attention().double()
    found = gathered(words, sentences())
    ids = torch.cat([batch["ids"] for batch in sentences()])
    torch.testing.assert_close(flat(found.curvature), class_sum(words, ids), rtol=1e-9, atol=1e-14)


def test_positions_with_padding():
    """Of an example, the mean over the positions that count: each has a block of its own."""
    torch.manual_seed(3)
    model = nn.Linear(3, 5).double()
    x, y = torch.randn(2, 4, 3).double(), torch.randint(5, (2, 4))
    y[0, 2:] = -100
    found = flat(gathered(model, [(x, y)]).curvature)

    def loss(z, t):
        return functional.cross_entropy(z.reshape(4, 5), t)

    torch.testing.assert_close(found, gauss_newton(model, loss, x, y).diagonal())


def test_probabilities_as_targets():
    model, (x, _) = two_layers().eval(), pictures((4,))[0]
    soft = torch.rand(4, C).double().softmax(1)
    found = flat(gathered(model, [(x, soft)]).curvature)
    torch.testing.assert_close(found, class_sum(model, x))


def test_squared_error_and_losses_of_your_own():
    model, (x, _) = two_layers().eval(), pictures((4,))[0]
    targets = torch.randn(4, C).double()
    found = flat(gathered(model, [(x, targets)], mean_squared_error()).curvature)
    exact = gauss_newton(model, lambda z, t: (z - t).square().mean(), x, targets).diagonal()
    torch.testing.assert_close(found, exact)
    huber = Objective("huber", lambda forward, b: functional.huber_loss(forward(b[0]), b[1], reduction="none").mean(1))
    found = flat(gathered(model, [(x, targets)], huber).curvature)
    exact = gauss_newton(model, functional.huber_loss, x, targets).diagonal()
    torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("objective", [cross_entropy(3.0), mean_squared_error()])
def test_samples_have_the_columns_as_their_second_moment(objective):
    torch.manual_seed(4)
    outputs = torch.randn(2, 3).double()
    batch = (None, torch.tensor([0, 2]))
    curvature = objective.output_curvature
    exact = sum(v[:, :, None] * v[:, None] for v in curvature.columns(outputs, batch))
    drawn = sum(v[:, :, None] * v[:, None] for v in curvature.samples(outputs, batch, 20_000)) / 20_000
    torch.testing.assert_close(drawn, exact, rtol=0, atol=0.03 * float(exact.abs().max()))
    derived = Derived(lambda forward, b: objective.per_example(forward, (b[0], target(objective, outputs))))
    roots = sum(v[:, :, None] * v[:, None] for v in derived.columns(outputs, (outputs, None)))
    torch.testing.assert_close(roots, exact)


def target(objective, outputs):
    return torch.zeros_like(outputs) if objective.name == "mean_squared_error" else torch.tensor([0, 2])


def test_certain_outputs_give_zeros_and_no_nan():
    layer = nn.Linear(1, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[200.0], [0.0], [-200.0]]))
    found = gathered(layer, [(torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]))]).curvature["weight"]
    assert float(found.abs().max()) == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_split_into_parts_changes_nothing_but_rounding(kind):
    model, batches = two_layers(), pictures((7, 2))
    whole_ = gathered(model, [whole(batches)], curvature="ggn")
    found = gathered(model, batches, curvature=kind, micro_batch=2, seed=0)
    assert (found.samples, found.curvature_kind) == (9, kind)
    assert found.loss == pytest.approx(whole_.loss)
    if kind == "ggn":
        torch.testing.assert_close(flat(found.curvature), flat(whole_.curvature))


@pytest.mark.parametrize("kind", KINDS)
def test_what_masks_hold_has_no_curvature(kind):
    model, batches = two_layers(), pictures()
    signals = gather(model, cross_entropy(), batches)
    masks = fp.select(fp.score("magnitude", signals, fp.Weights()), 0.5)
    fp.apply(model, masks)
    found = gathered(model, batches, curvature=kind).curvature
    assert all(torch.count_nonzero(found[name][~mask]) == 0 for name, mask in masks.items())
    assert float(found["0.weight"].abs().sum()) > 0


@pytest.mark.parametrize("kind", ["fisher_mc", "hutchinson"])
def test_a_seed_repeats_what_is_drawn(kind):
    model, batches = two_layers(), pictures()
    first, again, other = (gathered(model, batches, curvature=kind, seed=seed).curvature for seed in (1, 1, 2))
    torch.testing.assert_close(flat(first), flat(again), rtol=0, atol=0)
    assert not torch.equal(flat(first), flat(other))


def test_everything_at_once():
    model, batches = two_layers(), iter(pictures())
    signals = gather(model, cross_entropy(), batches, needs=("gradient", "curvature", "fisher", "hessian_gradient"))
    alone = gathered(model, pictures())
    torch.testing.assert_close(flat(signals.curvature), flat(alone.curvature))
    assert "curvature" in repr(signals)


@pytest.mark.parametrize("measure", ["lm", "obd", "qm"])
def test_measures_of_the_loss_prune_with_it(measure):
    model, batches = two_layers().float(), [(x.float(), y) for x, y in pictures()]
    result = fp.prune(
        model, measure=measure, sparsity=0.5, granularity=fp.Weights(), objective=cross_entropy(), batches=batches
    )
    assert result.masks.sparsity == pytest.approx(0.5, abs=0.01)
