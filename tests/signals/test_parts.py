"""How many examples go through a model at a time, and that it changes nothing but the time."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from flowprune.models import build
from flowprune.objectives import Objective, cross_entropy
from flowprune.signals import Curvature, gather, hessian_product
from flowprune.signals.batches import Counted
from flowprune.signals.footprint import footprint, graph_bytes
from flowprune.signals.parts import LEAST, LEAST_TWICE, ROOM, Parts


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3)).eval()


def batch_of(n, *shape, classes=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=generator), torch.randint(0, classes, (n,), generator=generator)


def parts(model, micro_batch=None, objective=None, **options):
    return Parts(micro_batch, model, objective or cross_entropy(), dict(model.named_parameters()), **options)


def counted(batch):
    return Counted(0, batch, len(batch[0]))


def test_examples_that_take_little_go_through_together():
    for twice in (False, True):
        assert parts(perceptron(), twice=twice)(counted(batch_of(1000, 20))) > 1000


def test_examples_that_take_much_go_through_a_few_at_a_time():
    model, batch = build("resnet20", num_classes=10).eval(), batch_of(70, 3, 32, 32, classes=10)
    assert parts(model)(counted(batch)) == LEAST
    assert parts(model, twice=True)(counted(batch)) == LEAST_TWICE
    small = counted(batch_of(70, 3, 4, 4, classes=10))
    assert LEAST < parts(model)(small) < ROOM / (4 * 4 * 16 * 4)


def test_what_is_recomputed_counts():
    class Recomputed(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.head = inner, nn.Linear(16, 3)

        def forward(self, x):
            return self.head(checkpoint(self.inner, x, use_reentrant=False))

    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    inner = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    plain = nn.Sequential(inner, nn.Linear(16, 3))
    batch = counted(batch_of(70, 3, 32, 32))
    assert parts(Recomputed(inner))(batch) <= 1.5 * parts(plain)(batch) <= 1.5 * LEAST


def test_what_is_recomputed_counts_for_operations_as_for_modules():
    class Attending(nn.Module):
        def __init__(self, *, again):
            super().__init__()
            self.query, self.head, self.again = nn.Linear(4, 4), nn.Linear(4, 3), again

        def attend(self, x):
            h = self.query(x)
            return (h @ h.mT).softmax(-1) @ h

        def forward(self, x):
            h = checkpoint(self.attend, x, use_reentrant=False) if self.again else self.attend(x)
            return self.head(h.mean(1))

    plain, again = (
        graph_bytes(Attending(again=a), cross_entropy(), counted(batch_of(8, 50, 4))) for a in (False, True)
    )
    assert again >= plain >= 4 * 50 * 50


def test_nothing_is_left_in_memory_of_finding_it_out():
    """An operation that keeps its own result is in a circle with it, which nothing frees."""
    alive = weakref.WeakSet()

    class Noted(nn.Module):
        def forward(self, x):
            y = x.tanh()
            alive.add(y)
            return y

    model = nn.Sequential(nn.Linear(20, 16), Noted(), nn.Linear(16, 3))
    for _ in range(3):
        graph_bytes(model, cross_entropy(), counted(batch_of(70, 20)))
        footprint(model, cross_entropy(), dict(model.named_parameters()), counted(batch_of(70, 20)))
    gc.collect()
    assert not alive


def test_a_small_view_does_not_hide_what_it_is_of():
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.head = nn.Linear(4, 100), nn.Linear(100, 3)

        def forward(self, x):
            return self.head((self.query(x) * 2).sin().exp()[:, 0])

    assert graph_bytes(First(), cross_entropy(), counted(batch_of(8, 50, 4))) >= 3 * 4 * 50 * 100


def test_a_child_without_a_truth_value_is_a_child():
    class Odd(nn.Linear):
        def __bool__(self):
            raise TypeError("neither")

    model = nn.Sequential(Odd(20, 3))
    assert parts(model)(counted(batch_of(1000, 20))) > 1000


def test_columns_that_are_pulled_back_count():
    """Ten of them take ten times the memory of one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(100, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 10)).eval()
    seen = []
    model[0].register_forward_hook(lambda module, args, output: seen.append(len(output)))
    gather(model, cross_entropy(), [batch_of(2000, 100, classes=10)], "curvature")
    each = footprint(model, cross_entropy(), dict(model.named_parameters()), counted(batch_of(70, 100))).for_vectors(9)
    assert LEAST <= max(seen) <= ROOM / each


def test_what_was_asked_for_is_done():
    for n in (1, 7, 5000):
        assert parts(perceptron(), n)(counted(batch_of(1000, 20))) == n
        assert parts(perceptron(), n, twice=True)(counted(batch_of(1000, 20))) == n


def test_a_small_batch_says_nothing_of_the_next():
    of = parts(perceptron())
    assert of(counted(batch_of(10, 20))) == LEAST
    assert of(counted(batch_of(1000, 20))) > 1000


def test_nothing_is_drawn_to_find_it_out():
    model = perceptron()
    before = torch.get_rng_state()
    parts(model)(counted(batch_of(1000, 20)))
    assert torch.equal(before, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("need", ["hessian_gradient", "fisher", "curvature"])
def test_it_changes_nothing_else(need):
    model, batches = perceptron().double(), [(x.double(), y) for x, y in (batch_of(300, 20), batch_of(77, 20))]
    found = [getattr(gather(model, cross_entropy(), batches, needs=(need,), micro_batch=m), need) for m in (None, 1, 9)]
    for other in found[1:]:
        for name, value in found[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("kind", "most"), [("fisher_mc", LEAST), ("hutchinson", LEAST_TWICE)])
def test_what_draws_by_part_draws_as_often_as_ever(kind, most):
    """Fewer parts are fewer draws: an estimate would be noisier, and another under the same seed."""
    model, batches = perceptron(), [batch_of(300, 20)]
    default, told = (
        gather(model, cross_entropy(), batches, "curvature", curvature=Curvature(kind), micro_batch=m, seed=0).curvature
        for m in (None, most)
    )
    for name, value in default.items():
        assert torch.equal(value, told[name])


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(20, 3)

    def forward(self, x):
        hidden = self.layer(x)
        return hidden, hidden.sum(1)


class Squeezed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(20, 1)

    def forward(self, x):
        return self.layer(x).squeeze()


def of_pair(forward, batch):
    return functional.cross_entropy(forward(batch[0])[0], batch[1], reduction="none")


def of_two_calls(forward, batch):
    return functional.cross_entropy(forward(batch[0])[0] + forward(-batch[0])[0], batch[1], reduction="none")


def of_numbers(forward, batch):
    return (forward(batch[0]) - batch[1]).square().reshape(-1)


ODD = [
    *((of, "hessian_gradient", None) for of in (of_pair, of_two_calls, of_numbers)),
    *((of, "curvature", "hutchinson") for of in (of_pair, of_two_calls, of_numbers)),
    *((of, "fisher", None) for of in (of_pair, of_numbers)),
]


@pytest.mark.parametrize(("of", "need", "curvature"), ODD)
def test_it_asks_nothing_of_models_that_the_signal_does_not(of, need, curvature):
    """Models that return several tensors, losses that call them twice, outputs without a dimension for examples."""
    torch.manual_seed(0)
    model = (Squeezed if of is of_numbers else Pair)()
    objective = Objective("odd", of)
    found, expected = (
        getattr(gather(model, objective, [batch_of(100, 20)], need, curvature=curvature, micro_batch=m, seed=0), need)
        for m in (None, LEAST_TWICE if need != "fisher" else 50)
    )
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def test_a_loss_that_may_not_be_split_is_of_whole_batches_of_any_size():
    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.seen = nn.Linear(20, 3), set()

        def forward(self, x):
            self.seen.add(len(x))
            return self.layer(x)

    model = Watching().eval()

    def loss(forward, batch):
        return functional.cross_entropy(forward(batch[0]), batch[1])

    gather(model, loss, [batch_of(4, 20), batch_of(64, 20)], "curvature", curvature="hutchinson", seed=0)
    assert 64 in model.seen
    assert model.seen <= {1, 2, 4, 64}


@pytest.mark.parametrize("micro_batch", [0, -1, "x", True, 1.0])
def test_what_is_no_number_of_examples_is_refused(micro_batch):
    model, batch = perceptron(), batch_of(4, 20)
    with pytest.raises(ValueError, match=r"gather\(micro_batch=\) must be a whole number >= 1, or None; got"):
        gather(model, cross_entropy(), [batch], micro_batch=micro_batch)
    along = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match=r"hessian_product\(micro_batch=\) must be a whole number >= 1, or None; got"):
        hessian_product(model, cross_entropy(), [batch], along, micro_batch=micro_batch)
