"""The Fisher diagonal: equal to a per-example loop for every kind of layer and every way of getting it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from flowprune.core.errors import PruningError
from flowprune.objectives import cross_entropy
from flowprune.signals import gather
from flowprune.signals.batches import Counted, size_of
from flowprune.signals.per_example import choose
from flowprune.signals.per_example.choose import squares
from flowprune.signals.per_example.convolved import Convolved
from flowprune.signals.per_example.hooked import UnwatchableError, hooked
from flowprune.signals.per_example.outer import Outer
from flowprune.signals.per_example.singly import looped, vectorised
from tests.signals.networks import Attention, convolutional, flat, images, perceptron, points, sentences, whole


def reference(model, batches):
    """E[g_i^2], one backward pass per example."""
    total, count = 0, 0
    for x, y in batches:
        for i in range(len(y)):
            loss = cross_entropy()(model, (x[i : i + 1], y[i : i + 1]))
            grads = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
            total, count = total + torch.cat([g.flatten() for g in grads]).square(), count + 1
    return total / count


def way(model, batch):
    """The name of the engine that is chosen."""
    params = dict(model.named_parameters())
    return choose(model, cross_entropy().per_example, params, Counted(0, batch, size_of(batch))).name


def sequences(sizes=(4, 3), length=5, width=4):
    torch.manual_seed(5)
    return [(torch.randn(n, length, width, dtype=torch.float64), torch.randint(3, (n,))) for n in sizes]


class Mean(nn.Module):
    """Over everything between examples and channels."""

    def forward(self, x):
        return x.flatten(1, -2).mean(1)


class First(nn.Module):
    """Channels at position zero become features."""

    def forward(self, x):
        return x.flatten(2).mean(2)


def grouped():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, groups=3, dilation=2, padding=2), nn.GroupNorm(2, 6), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(6, 5, (3, 1), stride=(2, 1), bias=True), First()).double()


def one_dimensional():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(5, 6, 2), nn.BatchNorm1d(6), nn.Tanh(), First(), nn.Linear(6, 3)).double()


def sequential():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3, bias=False), Mean()).double()


class Residual(nn.Module):
    """In-place activations and additions around a convolution."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = functional.relu_(self.first(x))
        y = self.second(x)
        y += x
        return self.head(functional.relu_(y).mean((2, 3)))


@pytest.mark.parametrize(
    ("model", "batches"),
    [
        (convolutional(), images((5, 4))),
        (grouped(), images((5, 4))),
        (one_dimensional(), sequences()),
        (sequential(), sequences()),
        (Residual().double(), images((5, 4))),
        (perceptron(4, 6, 3, bias=True), points()),
        (perceptron(4, 3), points()),
    ],
    ids=["batch_norm", "grouped", "conv1d", "layer_norm", "residual", "perceptron", "one layer"],
)
def test_it_is_the_mean_of_squared_per_example_gradients(model, batches):
    model.eval()
    assert way(model, batches[0]) == "hooked"
    found = gather(model, cross_entropy(), batches, needs=("fisher",)).fisher
    torch.testing.assert_close(flat(found), reference(model, batches))


def test_it_is_not_the_square_of_the_batch_mean():
    # RT-10
    model, batches = convolutional(), images((8,))
    signals = gather(model, cross_entropy(), batches, needs=("fisher", "minibatch_fisher"))
    assert flat(signals.fisher).sum() > 1.5 * flat(signals.minibatch_fisher).sum()
    singles = [(x[None], y[None]) for x, y in zip(*batches[0], strict=True)]
    one_by_one = gather(model, cross_entropy(), singles, needs=("minibatch_fisher",)).minibatch_fisher
    torch.testing.assert_close(signals.fisher, one_by_one)


def test_embeddings_and_attention_are_watched():
    torch.manual_seed(0)
    model, batches = Attention().double().eval(), sentences()
    assert way(model, batches[0]) == "hooked"
    found = gather(model, cross_entropy(), batches, needs=("fisher",)).fisher
    torch.testing.assert_close(flat(found), reference(model, [(b["ids"], b["labels"]) for b in batches]))


class Shared(nn.Module):
    """One module called twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.inner(torch.tanh(self.inner(x))))


class Borrowed(Shared):
    """A weight used outside its module too."""

    def forward(self, x):
        return self.head(functional.linear(torch.tanh(self.inner(x)), self.inner.weight))


class Tied(Shared):
    """Two modules with one parameter."""

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(4, 4)
        self.other.weight = self.inner.weight

    def forward(self, x):
        return self.head(self.other(torch.tanh(self.inner(x))))


class Own(Shared):
    """A parameter that belongs to no known layer."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.randn(4))

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x) * self.shift))


class Branches(Shared):
    """Control flow that depends on data, which cannot be mapped over examples."""

    def forward(self, x):
        if x.sum() > 0:
            x = x * 2
        return self.head(self.inner(torch.tanh(self.inner(x))))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Shared, "vectorised"), (Borrowed, "vectorised"), (Tied, "vectorised"), (Own, "vectorised"), (Branches, "looped")],
)
def test_models_that_cannot_be_watched_are_run_another_way(kind, expected):
    model, batches = kind().double(), points((20, 3))
    assert way(model, batches[0]) == expected
    found = gather(model, cross_entropy(), batches, needs=("fisher",)).fisher
    torch.testing.assert_close(flat(found), reference(model, batches))


def test_an_input_that_is_overwritten_is_noticed():
    class Overwrites(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            h = x * 1.0
            out = self.head(self.inner(h))
            h.zero_()
            return out

    model, (batch, *_) = Overwrites().double(), points()
    params = dict(model.named_parameters())
    with pytest.raises(UnwatchableError, match="the input of inner is overwritten"):
        hooked(model, cross_entropy().per_example, params)(batch, lambda name, contribution: None)


def test_all_ways_agree():
    model, batch = convolutional().eval(), images((6,))[0]
    params = dict(model.named_parameters())
    found = [
        squares(make(model, cross_entropy().per_example, params), params, batch)
        for make in (hooked, vectorised, looped)
    ]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])


def test_the_micro_batch_does_not_matter():
    model, batches = convolutional(), images((7, 4))
    a, b = (gather(model, cross_entropy(), batches, needs=("fisher",), micro_batch=m).fisher for m in (3, 64))
    torch.testing.assert_close(a, b)


def test_batch_statistics_are_refused():
    with pytest.raises(PruningError, match=r"1 \(BatchNorm2d\) uses batch statistics, which couple the examples"):
        gather(convolutional(), cross_entropy(), images(), needs=("fisher",), mode="train")
    untracked = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, track_running_stats=False), First()).double()
    with pytest.raises(PruningError, match="uses batch statistics"):
        gather(untracked, cross_entropy(), images(), needs=("fisher",))


def test_dropout_in_train_mode_is_sampled():
    model = nn.Sequential(perceptron(4, 8), nn.Dropout(0.5), perceptron(8, 3))
    found = gather(model, cross_entropy(), points(), needs=("fisher",), mode="train").fisher
    assert not torch.allclose(flat(found), flat(gather(model, cross_entropy(), points(), needs=("fisher",)).fisher))


@pytest.mark.parametrize("positions", [1, 2, 4, 9])
def test_every_way_to_square_outer_products_agrees(positions, monkeypatch):
    torch.manual_seed(0)
    a, b = torch.randn(5, 7, positions).double(), torch.randn(5, 6, positions).double()
    expected = torch.einsum("ndt,npt->npd", a, b).square().sum(0)
    outer = Outer(a, b)
    monkeypatch.setattr("flowprune.signals.per_example.outer.CACHE_BYTES", 7 * 8 * 4)  # four rows at a time
    for found in (outer.squares(), outer._by_pairs(), outer._by_examples(), outer._by_groups()):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": 1, "dilation": 2}, {"kernel_size": (1, 3)}])
def test_every_way_to_square_filter_gradients_agrees(options, monkeypatch):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, **{"kernel_size": 3, **options}).double()
    a = torch.randn(5, 3, 8, 8, dtype=torch.float64)
    b = torch.randn_like(conv(a))
    each = [torch.autograd.grad(conv(a[i : i + 1]), conv.weight, b[i : i + 1])[0] for i in range(5)]
    contribution = Convolved(conv, a, b)
    expected = torch.stack(each).square().sum(0)
    monkeypatch.setattr("flowprune.signals.per_example.convolved.UNFOLDED_BYTES", 1)
    monkeypatch.setattr("flowprune.signals.per_example.convolved.GROUPED_BYTES", 2000)
    for found in (contribution._unfolded(), contribution._grouped(), contribution.squares()):
        torch.testing.assert_close(found, expected)


def test_the_fisher_of_everything_equals_the_loop_over_all_examples():
    model, batches = convolutional().eval(), images((3, 4))
    params = dict(model.named_parameters())
    found = gather(model, cross_entropy(), batches, needs=("fisher",))
    each = squares(looped(model, cross_entropy().per_example, params), params, whole(batches))
    torch.testing.assert_close(found.fisher, {name: value / 7 for name, value in each.items()})
    assert found.samples == 7
